"""A web process that dies in the middle of a token request (real processes, killed with SIGKILL)."""

import signal
import subprocess
import sys
import textwrap

import pytest
from django.conf import settings
from django.db import connection
from oauth2_provider.models import AccessToken, RefreshToken

from apps.tokens.models import Grant

pytestmark = pytest.mark.django_db(transaction=True)

# Sends one token request, and dies just before or just after its n-th SQL statement.
DYING_PROCESS = textwrap.dedent(
    """
    import json, os, signal, sys
    path, body, fatal, moment, database = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    from django.conf import settings
    settings.DATABASES["default"]["NAME"] = database
    settings.ALLOWED_HOSTS.append("testserver")
    import django
    django.setup()
    from django.db import connection
    from django.test import Client
    from apps.tokens import keys
    keys.signing_key("RS256")
    count = 0

    def die_there(execute, sql, params, many, context):
        global count
        count += 1
        if count == fatal and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = execute(sql, params, many, context)
        if count == fatal and moment == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    with connection.execute_wrapper(die_there):
        response = Client().post(path, body)
    print(response.status_code)
    """
)


def send_and_die(path: str, body: dict[str, str], *, statement: int, moment: str) -> int:
    """Return the exit status of a process that sends the request and dies at that statement."""
    import json

    database = connection.settings_dict["NAME"]
    arguments = [path, json.dumps(body), str(statement), moment, database]
    done = subprocess.run(
        [sys.executable, "-c", DYING_PROCESS, *arguments], cwd=settings.BASE_DIR, capture_output=True, text=True
    )
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode


@pytest.mark.spec("RFC 6749", "4.1.2")
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("statement", [1, 2, 3])
def test_death_during_an_exchange_leaves_the_code_usable_or_its_tokens_revocable(
    browser, make_application, exchange, statement, moment
):
    application = make_application("customer")
    code = browser.authorize(application)
    body = {"grant_type": "authorization_code", "code": code, **application.credentials}

    assert send_and_die("/oauth/token", body, statement=statement, moment=moment) == -signal.SIGKILL

    if Grant.objects.get().spent_at is None:
        assert not AccessToken.objects.exists()
        assert exchange(application, code).status_code == 200
    else:
        assert AccessToken.objects.count() == 1
        assert exchange(application, code).status_code == 400
        assert not AccessToken.objects.exists()
        assert not RefreshToken.objects.filter(revoked__isnull=True).exists()


@pytest.mark.spec("RFC 6749", "6")
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("statement", [1, 3])
def test_death_during_a_refresh_leaves_a_client_that_retries_with_a_live_token(
    connect, make_application, refresh, call_with, statement, moment
):
    application = make_application("customer")
    token = connect(application)["refresh_token"]
    body = {"grant_type": "refresh_token", "refresh_token": token, **application.credentials}

    assert send_and_die("/oauth/token", body, statement=statement, moment=moment) == -signal.SIGKILL

    retried = refresh(application, token)
    assert retried.status_code == 200
    assert call_with("/oauth/user", retried.json()["access_token"]).status_code == 200
    assert RefreshToken.objects.filter(revoked__isnull=True).count() == 1
