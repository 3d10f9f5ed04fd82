"""The consent screen as users will see it, beside the form that it follows from."""

from dataclasses import dataclass

from apps.console.forms.version import ProfileScopes, ScopeRow, ScopesForm


@dataclass(frozen=True)
class PreviewedScope:
    """One scope of the preview: a place for it on the screen, taken or not."""

    scope: ScopeRow
    reason: str
    is_shown: bool
    is_optional: bool


@dataclass(frozen=True)
class PreviewedGroup:
    """A category of the preview; shown if one of its scopes is."""

    category: str
    profile: str
    scopes: list[PreviewedScope]

    @property
    def is_shown(self) -> bool:
        return any(scope.is_shown for scope in self.scopes)


@dataclass(frozen=True)
class Preview:
    """What the screen would show now; places for what may be ticked still are in it, hidden."""

    application_name: str
    groups: list[PreviewedGroup]
    #: The profile has no scopes: users share a fixed set.
    is_fixed: bool

    @property
    def is_shown(self) -> bool:
        return any(group.is_shown for group in self.groups)


def preview_of(form: ScopesForm, sections: list[ProfileScopes], *, application_name: str = "") -> Preview:
    """Return the preview of what is in `form`."""
    name = form.text_of("name").strip() if "name" in form.fields else application_name
    groups = [
        PreviewedGroup(
            category=category,
            profile=section.profile,
            scopes=[
                PreviewedScope(
                    scope=row,
                    reason=form.text_of(row.reason.name).strip(),
                    is_shown=section.is_chosen and row.is_ticked,
                    is_optional=row.is_optional,
                )
                for row in rows
            ],
        )
        for section in sections
        for category, rows in section.groups
    ]
    is_fixed = any(section.is_chosen and not section.groups for section in sections)
    return Preview(application_name=name, groups=groups, is_fixed=is_fixed)
