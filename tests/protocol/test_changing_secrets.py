"""A client changes over to a new secret while it keeps working (CONTRACT section 9)."""

from base64 import b64encode
from datetime import timedelta

import pytest
from django.utils import timezone

from apps.developers.models import Application
from apps.developers.services.secrets import create_secret, end_previous_secret


@pytest.fixture
def service(make_application):
    return make_application("service")


@pytest.fixture
def ask(partner):
    """Ask for a token with a secret; returns the answer's status."""

    def call(application, secret, *, basic=False):
        fields = {"grant_type": "client_credentials"}
        if basic:
            credentials = b64encode(f"{application.client_id}:{secret}".encode()).decode()
            return partner.post("/oauth/token", fields, headers={"Authorization": f"Basic {credentials}"}).status_code
        fields |= {"client_id": application.client_id, "client_secret": secret}
        return partner.post("/oauth/token", fields).status_code

    return call


@pytest.mark.parametrize("basic", [True, False])
def test_both_secrets_work_while_they_overlap(service, ask, basic):
    new = create_secret(application=service.row, actor=None)
    assert ask(service, new, basic=basic) == 200
    assert ask(service, service.secret, basic=basic) == 200
    assert ask(service, "neither", basic=basic) == 401


def test_old_secret_ends_with_the_overlap(service, ask):
    new = create_secret(application=service.row, actor=None, overlap=timedelta(hours=1))
    Application.objects.update(previous_client_secret_ends_at=timezone.now() - timedelta(seconds=1))
    assert ask(service, service.secret) == 401
    assert ask(service, new) == 200


def test_old_secret_ends_at_once_without_an_overlap(service, ask):
    new = create_secret(application=service.row, actor=None, overlap=timedelta(0))
    assert ask(service, service.secret) == 401
    assert ask(service, new) == 200


def test_old_secret_can_be_ended_before_its_time(service, ask):
    new = create_secret(application=service.row, actor=None)
    assert end_previous_secret(application=service.row, actor=None)
    assert ask(service, service.secret) == 401
    assert ask(service, new) == 200
    assert not end_previous_secret(application=service.row, actor=None)


def test_only_the_two_newest_secrets_work(service, ask):
    second = create_secret(application=service.row, actor=None)
    third = create_secret(application=service.row, actor=None)
    assert [ask(service, secret) for secret in (service.secret, second, third)] == [401, 200, 200]


def test_stored_hash_of_the_old_secret_is_not_accepted(service, ask):
    create_secret(application=service.row, actor=None)
    service.row.refresh_from_db()
    assert service.row.previous_client_secret.startswith("client_secret_sha256$")
    assert ask(service, service.row.previous_client_secret) == 401


def test_refreshing_goes_on_with_either_secret(make_application, connect, refresh):
    application = make_application("customer")
    tokens = connect(application)
    new = create_secret(application=application.row, actor=None)
    answer = refresh(application, tokens["refresh_token"])
    assert answer.status_code == 200, answer.content
    answer = refresh(application, answer.json()["refresh_token"], client_secret=new)
    assert answer.status_code == 200, answer.content


def test_overlap_costs_no_statement(service, ask, django_assert_num_queries):
    new = create_secret(application=service.row, actor=None)
    with django_assert_num_queries(2):
        assert ask(service, new) == 200
    with django_assert_num_queries(2):
        assert ask(service, service.secret) == 200
    with django_assert_num_queries(1):
        assert ask(service, "neither") == 401
