"""Who may see and do what: every view of the portal and of the review desk is one of these."""

from typing import Any, ClassVar

from django.contrib.auth.mixins import AccessMixin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.generic.base import ContextMixin, View

from apps.accounts.models import User
from apps.accounts.selectors import signed_in_user
from apps.console import terms
from apps.developers.models import Application, Profile, Role, TeamMember
from apps.developers.selectors import find_membership, find_reviewable, has_part_in

#: Which roles have at least the rights of each.
_AT_LEAST: dict[Role, frozenset[str]] = {
    Role.VIEWER: frozenset({Role.VIEWER, Role.DEVELOPER, Role.OWNER}),
    Role.DEVELOPER: frozenset({Role.DEVELOPER, Role.OWNER}),
    Role.OWNER: frozenset({Role.OWNER}),
}


@method_decorator(never_cache, name="dispatch")
class SignedInView(AccessMixin, ContextMixin, View):
    """A page for whoever is logged in; others are sent to log in and come back."""

    user: User

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return self.handle_no_permission()
        self.user = signed_in_user(request)
        return self.admit(request) or super().dispatch(request, *args, **kwargs)

    def admit(self, request: HttpRequest) -> HttpResponseBase | None:
        """Return what to answer instead of the page, None to go on. Raises Http404, PermissionDenied."""
        return None


class DeveloperView(SignedInView):
    """A page of the portal. Owners are first asked to agree to new terms, once in each session."""

    def admit(self, request: HttpRequest) -> HttpResponseBase | None:
        # A page's script asks for no page.
        is_for_a_page = request.method == "GET" and request.accepts("text/html")
        if is_for_a_page and (address := terms.address_to_ask(request, self.user)):
            return redirect(address)
        return None


class TeamView(DeveloperView):
    """A page of one application, for its team: `self.application`, `self.member`.

    For everybody else there is no such application (404, CONTRACT section 9). A member whose role is too small for
    the request gets a 403.
    """

    #: The smallest role that may look, and the smallest that may send a form.
    may_read: ClassVar[Role] = Role.VIEWER
    may_write: ClassVar[Role] = Role.DEVELOPER
    application: Application
    member: TeamMember

    def admit(self, request: HttpRequest) -> HttpResponseBase | None:
        member = find_membership(user=self.user, application_id=self.kwargs["pk"])
        if member is None:
            raise Http404
        self.member, self.application = member, member.application
        needed = self.may_read if request.method in {"GET", "HEAD", "OPTIONS"} else self.may_write
        if member.role not in _AT_LEAST[needed]:
            raise PermissionDenied
        return super().admit(request)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            application=self.application,
            member=self.member,
            may_edit=self.member.may_edit,
            is_owner=self.member.is_owner,
            **kwargs,
        )


class ReviewedTeamView(TeamView):
    """A page about what reviewers read of an application. Of a service they read nothing (CONTRACT section 1): 404."""

    def admit(self, request: HttpRequest) -> HttpResponseBase | None:
        answer = super().admit(request)
        if self.application.profile == Profile.SERVICE:
            raise Http404
        return answer


class ReviewerView(SignedInView):
    """A page of the review desk, for reviewers of any organisation: `self.organisation_ids` are those they review.

    For everybody else there is no review desk (404).
    """

    organisation_ids: list[Any]

    def admit(self, request: HttpRequest) -> HttpResponseBase | None:
        self.organisation_ids = list(self.user.reviewing.values_list("organisation_id", flat=True))
        if not self.organisation_ids:
            raise Http404
        return None


class ReviewedApplicationView(ReviewerView):
    """A page of one application, for the reviewers of its organisation: `self.application`."""

    application: Application
    #: Whoever is on the team speaks for the team.
    is_on_team: bool
    #: On the team, or has sent what they would decide on: they may look and comment, but decide nothing.
    is_own: bool

    def admit(self, request: HttpRequest) -> HttpResponseBase | None:
        super().admit(request)
        application = find_reviewable(organisation_ids=self.organisation_ids, application_id=self.kwargs["pk"])
        if application is None:
            raise Http404
        self.application = application
        self.is_on_team = application.team.filter(user=self.user).exists()
        self.is_own = has_part_in(application=application, user=self.user)
        return None
