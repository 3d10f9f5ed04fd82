"""What a reviewer reads: the description, and the scopes with a reason each."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.http import QueryDict
from django.utils.functional import Promise
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from apps.developers import rules
from apps.developers.models import Application, Profile
from apps.developers.models.review import SubmittedScope
from apps.developers.scopes import ALL, BY_PROFILE

#: Those that developers register; a service is made by administrators (CONTRACT section 1).
PORTAL_PROFILES = (Profile.CONNECTION, Profile.CUSTOMER, Profile.PORTAL)


class TypedField(forms.CharField):
    """Text as it was typed. Whether it is right, and whether it may be empty, is for `developers.rules` to say."""

    def validate(self, value: Any) -> None:
        """Leave it to the rules."""


def asked_by_text(asked_by: int | str, alike: int | str) -> str:
    """Return what stands beside a scope. Also with placeholders, for the page's script."""
    if alike == 0:
        return gettext("No similar application yet")
    # A placeholder stands for more than one: the script has another text for one.
    text = ngettext(
        "%(asked_by)s of %(alike)s similar application asks for this",
        "%(asked_by)s of %(alike)s similar applications ask for this",
        alike if isinstance(alike, int) else 2,
    )
    return text % {"asked_by": asked_by, "alike": alike}


@dataclass(frozen=True)
class WordCount:
    """How long the description is, in words and as a bar. Texts with `{count}` and `{number}` are the script's, too."""

    count: int
    fewest: int = rules.DESCRIPTION_WORDS[0]
    most: int = rules.DESCRIPTION_WORDS[1]

    @property
    def scale(self) -> int:
        """The end of the bar: as far beyond the most words as the fewest are from its beginning."""
        return self.fewest + self.most

    @property
    def middle(self) -> int:
        return self.scale // 2

    @property
    def too_few(self) -> str:
        return gettext("Words: {count}. At least %(fewest)s; {number} to go.") % {"fewest": self.fewest}

    @property
    def fine(self) -> str:
        return gettext("Words: {count}. That is fine (%(fewest)s to %(most)s).") % {
            "fewest": self.fewest,
            "most": self.most,
        }

    @property
    def too_many(self) -> str:
        return gettext("Words: {count}. At most %(most)s; {number} too many.") % {"most": self.most}

    @property
    def text(self) -> str:
        if self.count < self.fewest:
            template, number = self.too_few, self.fewest - self.count
        elif self.count > self.most:
            template, number = self.too_many, self.count - self.most
        else:
            template, number = self.fine, 0
        return template.replace("{count}", str(self.count)).replace("{number}", str(number))


@dataclass(frozen=True)
class ScopeRow:
    """One scope with its tick, its reason and what similar applications do, as the page shows it."""

    name: str
    label: str | Promise
    is_ticked: bool
    is_optional: bool
    reason: forms.BoundField
    #: How many of `alike` similar applications ask for it.
    asked_by: int
    alike: int
    #: Why this tick is refused.
    refusal: str = ""

    @property
    def id_for_label(self) -> str:
        return f"id_scope-{self.name}"

    @property
    def asked_by_text(self) -> str:
        return asked_by_text(self.asked_by, self.alike)


@dataclass(frozen=True)
class ProfileScopes:
    """The scopes of one profile, grouped by category in catalogue order."""

    profile: str
    label: str
    is_chosen: bool
    alike: int
    groups: list[tuple[str, list[ScopeRow]]] = field(default_factory=list)


@dataclass(frozen=True)
class Problem:
    """A line of the summary of errors: what is wrong, and the id of what to mend."""

    message: str
    target: str


def description_field() -> TypedField:
    return TypedField(
        label=_("Description"),
        strip=False,
        widget=forms.Textarea,
        help_text=_("What it does, for whom, and what it does with people’s data. Reviewers read it; users do not."),
    )


class ScopesForm(forms.Form):
    """The scopes of `profiles`: ticks, optional ticks and a reason field each. To be extended by the other fields."""

    use_required_attribute = False

    def __init__(self, *args: Any, profiles: Iterable[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.profiles = tuple(profiles)
        known = [(scope.name, scope.label) for profile in self.profiles for scope in BY_PROFILE[profile]]
        #: Those that have a tick and a reason here, in the order of the page.
        self.known_scopes = [name for name, _label in known]
        self.fields["scopes"] = forms.MultipleChoiceField(label=_("Scopes"), required=False, choices=known)
        self.fields["optional"] = forms.MultipleChoiceField(required=False, choices=known)
        for name in self.known_scopes:
            self.fields[rules.reason_field(name)] = TypedField(
                label=_("Why do you need this?"),
                strip=False,
                widget=forms.Textarea,
            )

    # --- what was chosen -------------------------------------------------------------------------------

    @property
    def chosen_profile(self) -> str:
        """The profile whose scopes count; empty as long as none is chosen."""
        return self.profiles[0]

    def values_of(self, name: str) -> list[str]:
        """Return what is ticked in a group, as it was sent or as the page begins."""
        value = self[name].value() or []
        return [str(entry) for entry in value]

    def text_of(self, name: str) -> str:
        return str(self[name].value() or "")

    @property
    def ticked(self) -> list[str]:
        """The scopes that are ticked, those of other profiles too, each once."""
        return list(dict.fromkeys(self.values_of("scopes")))

    def reasons(self, scopes: Iterable[str]) -> dict[str, str]:
        return {scope: self.text_of(rules.reason_field(scope)) for scope in scopes if scope in self.known_scopes}

    @property
    def optional_scopes(self) -> list[str]:
        return [scope for scope in self.values_of("optional") if scope in self.ticked]

    def version(self) -> list[SubmittedScope]:
        """Return the ticked scopes as a submission has them."""
        reasons = self.reasons(self.ticked)
        return [
            SubmittedScope(scope=scope, reason=reasons[scope], is_optional=scope in self.optional_scopes)
            for scope in self.known_scopes
            if scope in self.ticked
        ]

    # --- what the page shows -----------------------------------------------------------------------------

    def profile_scopes(self, counts: Mapping[str, tuple[int, Mapping[str, int]]]) -> list[ProfileScopes]:
        """Return the scopes by profile for the page; `counts` gives by profile what similar applications ask for."""
        ticked, optional = self.ticked, self.values_of("optional")
        foreign = self.foreign_scopes() if self.is_bound else []
        sections = []
        for profile in self.profiles:
            alike, asked_by = counts.get(profile, (0, {}))
            groups: dict[str, list[ScopeRow]] = {}
            for scope in BY_PROFILE[profile]:
                row = ScopeRow(
                    name=scope.name,
                    label=scope.label,
                    is_ticked=scope.name in ticked,
                    is_optional=scope.name in optional,
                    reason=self[rules.reason_field(scope.name)],
                    asked_by=asked_by.get(scope.name, 0),
                    alike=alike,
                    refusal=str(_("Not a scope of the profile that you have chosen. Untick it."))
                    if scope.name in foreign
                    else "",
                )
                groups.setdefault(str(scope.category), []).append(row)
            sections.append(
                ProfileScopes(
                    profile=profile,
                    label=str(Profile(profile).label),
                    is_chosen=profile == self.chosen_profile,
                    alike=alike,
                    groups=list(groups.items()),
                )
            )
        return sections

    def foreign_scopes(self) -> list[str]:
        """Return the ticked scopes that are not of the chosen profile."""
        if self.chosen_profile not in self.profiles:
            return []
        own = {scope.name for scope in BY_PROFILE[self.chosen_profile]}
        return [scope for scope in self.ticked if scope in self.known_scopes and scope not in own]

    @property
    def words(self) -> WordCount:
        return WordCount(rules.count_words(self.text_of("description")))

    def problems(self) -> list[Problem]:
        """Return everything that is wrong, in the order of the page, with the id of the field to go to."""
        found = [Problem(str(message), "") for message in self.non_field_errors()]
        for name in self.fields:
            for message in self.errors.get(name, []):
                found.append(Problem(self._summary(name, str(message)), self.target_of(name)))
        return found

    def target_of(self, name: str) -> str:
        """Return the id of the element that the summary of errors leads to."""
        if name in {"scopes", "profile", "client_type"}:
            return f"{name}-group"
        return self[name].id_for_label

    def _summary(self, name: str, message: str) -> str:
        scope = ALL.get(name.removeprefix("reason-"))
        label = scope.label if scope and name == rules.reason_field(scope.name) else self.fields[name].label
        return f"{label}: {message}"

    # --- errors -----------------------------------------------------------------------------------------

    def add_errors(self, error: ValidationError) -> None:
        """Put what a rule or a service refuses beside its field; what has no field here goes on top."""
        by_field: dict[str, list[ValidationError]] = (
            error.error_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.error_list}
        )
        for name, errors in by_field.items():
            present = {str(message) for message in self.errors.get(name, ())}
            new = [entry for entry in errors if present.isdisjoint(entry.messages)]
            if new:
                self.add_error(name if name in self.fields else None, new)


class VersionForm(ScopesForm):
    """The next version of an application that is registered."""

    description = description_field()
    #: The mark of what the page showed beside it (`services.versions.mark_of`).
    seen = TypedField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, application: Application, **kwargs: Any) -> None:
        super().__init__(*args, profiles=[application.profile], **kwargs)

    @property
    def description_text(self) -> str:
        return rules.clean_text(self.text_of("description"))


def initial_of(description: str, scopes: Sequence[SubmittedScope]) -> dict[str, Any]:
    """Return a version as the form's initial values."""
    return {
        "description": description,
        "scopes": [entry["scope"] for entry in scopes],
        "optional": [entry["scope"] for entry in scopes if entry["is_optional"]],
        **{rules.reason_field(entry["scope"]): entry["reason"] for entry in scopes},
    }


def initial_of_draft(
    fields: Mapping[str, Sequence[str]], *, lists: Collection[str] = ("scopes", "optional")
) -> dict[str, Any]:
    """Return a draft (each field a list of what was typed) as a form's initial values."""
    return {name: list(values) if name in lists else values[0] for name, values in fields.items() if values}


def typed_fields(data: QueryDict, form: forms.Form) -> dict[str, list[str]]:
    """Return what was typed into the fields of `form`, to be kept as a draft."""
    return {name: [str(value) for value in data.getlist(name)] for name in form.fields if name in data}
