"""Drafts: a closed tab loses nothing, and nobody else's draft is touched."""

import pytest

from apps.developers.errors import RefusedError
from apps.developers.models import Draft
from apps.developers.services.drafts import MAX_LENGTH, save_draft, throw_draft_away
from tests.protocol.test_races import at_once

pytestmark = pytest.mark.spec("CONTRACT", "9 (registering)")


def test_what_was_typed_is_kept_as_it_is(owner):
    fields = {"name": ["<b>Penni</b> & ä 🙂"], "scopes": ["receipt:write", "receipt:read"], "description": ["a\r\nb "]}
    save_draft(user=owner, application=None, fields=fields)

    assert Draft.objects.get().fields == fields


def test_empty_fields_are_left_out(owner):
    save_draft(user=owner, application=None, fields={"name": ["Penni"], "website_url": [""], "scopes": []})

    assert Draft.objects.get().fields == {"name": ["Penni"]}


def test_next_draft_replaces_the_one_before(owner):
    save_draft(user=owner, application=None, fields={"name": ["Penni"], "website_url": ["https://penni.example"]})
    save_draft(user=owner, application=None, fields={"name": ["Penni 2"]})

    assert Draft.objects.get().fields == {"name": ["Penni 2"]}


def test_drafts_are_by_person_and_by_application(owner, member, pending):
    for user in (owner, member):
        for application in (None, pending):
            save_draft(user=user, application=application, fields={"name": [f"{user.pk} {application}"]})
    assert Draft.objects.count() == 4

    throw_draft_away(user=owner, application=None)
    assert set(Draft.objects.values_list("user", "application")) == {
        (owner.pk, pending.pk),
        (member.pk, None),
        (member.pk, pending.pk),
    }
    throw_draft_away(user=owner, application=None)


def test_draft_of_an_application_goes_with_it_and_with_the_person(owner, member, pending):
    save_draft(user=member, application=pending, fields={"name": ["x"]})
    member.delete()

    assert not Draft.objects.exists()


def test_draft_that_is_too_much_is_refused_and_the_old_one_kept(owner):
    save_draft(user=owner, application=None, fields={"description": ["word " * 511]})
    with pytest.raises(RefusedError, match="too much to keep"):
        save_draft(user=owner, application=None, fields={"description": ["x" * MAX_LENGTH]})

    assert Draft.objects.get().fields == {"description": ["word " * 511]}


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"])
def test_draft_that_cannot_be_kept_is_refused(owner, text):
    with pytest.raises(RefusedError, match="cannot be kept"):
        save_draft(user=owner, application=None, fields={"name": [text]})

    assert not Draft.objects.exists()


def test_name_of_a_field_that_cannot_be_kept_is_refused(owner):
    with pytest.raises(RefusedError, match="cannot be kept"):
        save_draft(user=owner, application=None, fields={"na\x00me": ["x"]})


@pytest.mark.django_db(transaction=True)
def test_two_tabs_at_the_same_moment_leave_one_draft(owner):
    def save(name):
        return lambda: save_draft(user=owner, application=None, fields={"name": [name]})

    at_once(*[save(f"Penni {number}") for number in range(5)])

    assert Draft.objects.get().fields["name"][0].startswith("Penni ")
