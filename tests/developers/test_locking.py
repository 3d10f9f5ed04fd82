"""Whoever changes an application locks its row, and keeps no token request waiting."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.developers.errors import RefusedError
from apps.developers.models import Role
from apps.developers.services import applications, review, secrets, team

CHANGES = {
    "logo": lambda application, actor: applications.change_logo(application=application, actor=actor, logo=None),
    "secret": lambda application, actor: secrets.create_secret(application=application, actor=actor),
    "team": lambda application, actor: team.invite_member(
        application=application, actor=actor, email="ivan@example.com", role=Role.VIEWER
    ),
    "comment": lambda application, actor: review.add_comment(
        application=application, actor=actor, text="Hello.", is_by_reviewer=False
    ),
}


@pytest.fixture(params=CHANGES)
def change(request):
    """A service of each kind, called with application and actor."""
    return CHANGES[request.param]


def test_change_locks_the_application_and_nothing_that_it_refers_to(live, owner, change):
    with CaptureQueriesContext(connection) as queries:
        change(live, owner)

    locks = [query["sql"].partition(" FOR ")[2] for query in queries if "_application" in query["sql"]]
    # FOR UPDATE would wait for, and keep waiting, the FOR KEY SHARE of a token that is being issued.
    assert next(filter(None, locks)) == 'NO KEY UPDATE OF "developers_application"'


def test_deleted_application_is_not_changed(live, owner, change):
    applications.mark_deleted(application=live, actor=owner)

    with pytest.raises(RefusedError, match="deleted"):
        change(live, owner)
