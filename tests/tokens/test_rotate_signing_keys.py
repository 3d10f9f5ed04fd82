"""manage.py rotate_signing_keys."""

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from apps.tokens.models import SigningKey


def test_new_keys_are_named_and_how_long_the_old_ones_verify(manage):
    before = {row.algorithm: row.kid for row in SigningKey.objects.filter(retired_at__isnull=True)}

    answer = manage("rotate_signing_keys")

    signing = {key["algorithm"]: key["kid"] for key in answer["signing"]}
    verifying = {key["algorithm"]: key for key in answer["verifying"]}
    assert set(signing) == {"RS256", "HS256"}
    assert not set(signing.values()) & set(before.values())
    assert {algorithm: key["kid"] for algorithm, key in verifying.items()} == before
    # Tokens of the receipts programme never expire; those of the loyalty programme live 731 days.
    assert verifying["HS256"]["until"] is None
    until = datetime.fromisoformat(verifying["RS256"]["until"])
    assert timedelta(days=731) <= until - timezone.now() < timedelta(days=732)


@pytest.mark.parametrize("profile", ["connection", "customer"])
def test_token_of_before_the_rotation_goes_on_working(manage, make_application, connect, introspect, profile):
    application = make_application(profile)
    token = connect(application)["access_token"]

    manage("rotate_signing_keys")

    assert introspect(application, token)["active"] is True
