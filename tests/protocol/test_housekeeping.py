"""What the background worker tidies away, and what it must leave alone."""

import threading
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from oauth2_provider.models import AccessToken, RefreshToken
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob

from apps.accounts.tasks import delete_expired_sessions, delete_left_log_ins
from apps.activity.models import ActivityCount
from apps.activity.tasks import delete_old_activity_counts
from apps.connections.models import Connection, EndReason
from apps.developers.models import Draft, Invitation
from apps.developers.tasks import delete_expired_invitations, delete_old_drafts
from apps.housekeeping import chores, dead
from apps.housekeeping.dead import DeadRows
from apps.housekeeping.models import HousekeepingRun
from apps.tokens import services, tasks
from apps.tokens.dead_families import DeadFamilies, find_dead_families
from apps.tokens.models import Grant, TokenFamily
from apps.tokens.profiles import PROFILES

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def small_batches(monkeypatch):
    """Let every batch have one row, or the tokens of one family."""
    small = {"batch_size": 1, "token_batch_size": 1}
    for kind in (DeadRows, DeadFamilies):
        make = kind.__init__
        own = {name: 1 for name in small if name in kind.__dataclass_fields__}
        monkeypatch.setattr(
            kind, "__init__", lambda self, rows, make=make, own=own, **options: make(self, rows, **{**options, **own})
        )


# --- codes, services' tokens, sessions --------------------------------------------------------------


@pytest.fixture
def codes(browser, application, exchange) -> dict[str, int]:
    """Return the ids of a fresh, an expired, a just spent and a long spent code."""
    ids = {}
    for name, spend in {"fresh": False, "expired": False, "spent": True, "old": True}.items():
        code = browser.authorize(application)
        ids[name] = Grant.objects.latest("id").pk
        if spend:
            assert exchange(application, code).status_code == 200
    past = timezone.now() - timedelta(days=31)
    Grant.objects.filter(pk=ids["expired"]).update(expires=past)
    Grant.objects.filter(pk=ids["old"]).update(spent_at=past)
    return ids


def check_codes(codes):
    assert tasks.delete_dead_codes(timestamp=0) == 2
    assert set(Grant.objects.values_list("pk", flat=True)) == {codes["fresh"], codes["spent"]}


def test_dead_codes_go_and_live_codes_and_recent_tombstones_stay(codes):
    check_codes(codes)


def test_dead_codes_go_in_as_many_batches_as_it_takes(codes, small_batches):
    check_codes(codes)


def test_expired_tokens_of_services_go_and_all_others_stay(partner, make_application, connect):
    service = make_application("service")
    body = {"grant_type": "client_credentials", **service.credentials}
    for _ in range(2):
        assert partner.post("/oauth/token", body).status_code == 200
    past = timezone.now() - SECOND
    AccessToken.objects.filter(pk=AccessToken.objects.latest("pk").pk).update(expires=past)
    connect(make_application("portal"))
    AccessToken.objects.exclude(user=None).update(expires=past)

    assert tasks.delete_dead_service_tokens(timestamp=0) == 1

    assert AccessToken.objects.count() == 2


def test_dot_s_own_command_would_delete_tombstones_and_refuses():
    with pytest.raises(CommandError, match="background worker"):
        call_command("cleartokens")


def test_expired_sessions_go_and_live_ones_stay(browser):
    live = browser.client.session.session_key
    Session.objects.create(session_key="x" * 32, session_data="", expire_date=timezone.now() - timedelta(days=1))

    assert delete_expired_sessions(timestamp=0) == 1

    assert list(Session.objects.values_list("session_key", flat=True)) == [live]


def test_lists_of_who_is_logged_in_go_with_their_sessions(browser, member):
    """They hold addresses and browsers."""
    from allauth.usersessions.models import UserSession

    now = timezone.now()
    listed = {"user": member, "ip": "192.0.2.1", "user_agent": "Browser"}
    for key, days in (("gone", 2), ("just-gone", 0), (browser.client.session.session_key, 2)):
        UserSession.objects.create(session_key=key, **listed)
        UserSession.objects.filter(session_key=key).update(last_seen_at=now - timedelta(days=days))

    assert delete_left_log_ins(timestamp=0) == 1

    assert not UserSession.objects.filter(session_key="gone").exists()
    assert UserSession.objects.count() == 2


def test_list_of_an_expired_session_goes_in_its_batch_and_by_an_index(browser, member):
    from allauth.usersessions.models import UserSession

    now, live = timezone.now(), browser.client.session.session_key
    for key in ("a", "b", "c"):
        Session.objects.create(session_key=key, session_data="", expire_date=now - timedelta(days=1))
    for key in ("a", "b", "c", live):
        UserSession.objects.create(session_key=key, user=member, ip="192.0.2.1", user_agent="Browser")

    assert delete_expired_sessions(timestamp=0) == 6

    assert list(UserSession.objects.values_list("session_key", flat=True)) == [live]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
    plan = UserSession.objects.filter(session_key__in=["a", "b"]).explain()
    assert "Index Scan using usersessions_usersession_session_key" in plan, plan
    [expired] = chores.CHORES["apps.accounts.tasks.delete_expired_sessions"].find_dead(now)
    assert "Index Scan using django_session_expire_date" in expired.sessions.explain()


# --- families ---------------------------------------------------------------------------------------


def age(by):
    """Let everything that was issued so far have been issued so much earlier."""
    for row in AccessToken.objects.all():
        AccessToken.objects.filter(pk=row.pk).update(created=row.created - by, expires=row.expires - by)
    for row in RefreshToken.objects.all():
        revoked = row.revoked - by if row.revoked else None
        RefreshToken.objects.filter(pk=row.pk).update(created=row.created - by, revoked=revoked)


def last_lifetime(profile):
    """Return how long after the last issue something of it is still valid."""
    lifetimes = (PROFILES[profile].access_token_lifetime, PROFILES[profile].refresh_token_lifetime)
    return timedelta(seconds=max(lifetime or 0 for lifetime in lifetimes))


@pytest.mark.parametrize("profile", ["customer", "portal"])
def test_family_of_which_nothing_is_valid_goes_with_its_tokens(connect, make_application, refresh, profile):
    application = make_application(profile)
    tokens = connect(application)
    assert refresh(application, tokens["refresh_token"]).status_code == 200
    age(last_lifetime(profile) + HOUR + SECOND)

    assert tasks.delete_dead_families(timestamp=0) == 4  # the family, two refresh tokens, one access token

    assert not TokenFamily.objects.exists()
    assert not AccessToken.objects.exists()
    assert not RefreshToken.objects.exists()
    assert Connection.objects.active().count() == 1
    assert refresh(application, tokens["refresh_token"]).json()["error"] == "invalid_grant"


@pytest.mark.django_db(transaction=True)
def test_family_of_more_tokens_than_a_batch_goes_over_several_commits(
    connect, make_application, refresh, small_batches
):
    """Its access token refers to a rotated refresh token; the database checks that at each commit."""
    application = make_application("portal")
    token = connect(application)["refresh_token"]
    for _ in range(3):
        token = refresh(application, token).json()["refresh_token"]
    age(last_lifetime("portal") + HOUR + SECOND)

    assert tasks.delete_dead_families(timestamp=0) == 6  # the family, four refresh tokens, one access token

    assert not TokenFamily.objects.exists()
    assert not RefreshToken.objects.exists()
    assert not AccessToken.objects.exists()


@pytest.mark.parametrize("profile", ["customer", "portal"])
def test_family_stays_while_its_refresh_token_is_valid(connect, make_application, refresh, profile):
    application = make_application(profile)
    token = connect(application)["refresh_token"]
    age(last_lifetime(profile) - HOUR)

    assert tasks.delete_dead_families(timestamp=0) == 0

    assert refresh(application, token).status_code == 200


def test_token_that_never_expires_stays(connect, application):
    connect(application)
    age(timedelta(days=3650))

    assert tasks.delete_dead_families(timestamp=0) == 0

    assert TokenFamily.objects.count() == AccessToken.objects.count() == 1


@pytest.mark.parametrize(("days", "left"), [(31, 0), (29, 1)])
def test_revoked_family_goes_after_thirty_days(any_application, connect, days, left):
    connect(any_application)
    services.end_connection(connection=Connection.objects.get(), reason=EndReason.USER)
    TokenFamily.objects.update(revoked_at=timezone.now() - timedelta(days=days))

    tasks.delete_dead_families(timestamp=0)

    assert TokenFamily.objects.count() == left
    assert bool(left) or not RefreshToken.objects.exists()


@pytest.mark.spec("RFC 9700", "4.14.2")
@pytest.mark.parametrize("profile", ["customer", "portal"])
def test_replay_ends_a_live_family_however_long_ago_the_token_was_rotated(connect, make_application, refresh, profile):
    """The first refresh token is on the brink of its own end, and the family lives on by a later one."""
    application = make_application(profile)
    first = connect(application)["refresh_token"]
    second = refresh(application, first).json()["refresh_token"]
    age(last_lifetime(profile) - HOUR)
    third = refresh(application, second).json()["refresh_token"]

    tasks.delete_dead_families(timestamp=0)
    assert RefreshToken.objects.count() == 3
    assert refresh(application, first).json()["error"] == "invalid_grant"

    assert refresh(application, third).json()["error"] == "invalid_grant"
    assert TokenFamily.objects.get().revoked_at is not None


@pytest.mark.spec("CONTRACT", "4")
def test_honest_retry_still_gets_its_answer(connect, make_application, refresh):
    application = make_application("portal")
    token = connect(application)["refresh_token"]
    answer = refresh(application, token).json()

    tasks.delete_dead_families(timestamp=0)

    assert refresh(application, token).json()["refresh_token"] == answer["refresh_token"]


def test_replay_of_a_code_whose_family_has_gone_is_refused_like_any_other(browser, application, exchange):
    code = browser.authorize(application)
    assert exchange(application, code).status_code == 200
    services.end_connection(connection=Connection.objects.get(), reason=EndReason.USER)
    TokenFamily.objects.update(revoked_at=timezone.now() - timedelta(days=31))
    tasks.delete_dead_families(timestamp=0)

    assert exchange(application, code).json()["error"] == "invalid_grant"


def test_family_with_many_rotated_tokens_goes_in_several_batches(connect, make_application, refresh, small_batches):
    application = make_application("portal")
    token = connect(application)["refresh_token"]
    for _ in range(3):
        token = refresh(application, token).json()["refresh_token"]
    age(last_lifetime("portal") + HOUR + SECOND)
    families = next(kind for kind in find_dead_families(timezone.now()) if kind.count(10))

    first = families.delete_batch()

    assert (first.rows, first.is_last) == (1, False)
    assert TokenFamily.objects.count() == 1
    assert RefreshToken.objects.count() == 3
    assert tasks.delete_dead_families(timestamp=0) == 5
    assert not TokenFamily.objects.exists()


# --- the developers' ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "left"), [(91, 0), (89, 1)])
def test_draft_goes_after_ninety_days(member, days, left):
    Draft.objects.create(user=member, fields={"name": ["Half"]})
    Draft.objects.update(updated_at=timezone.now() - timedelta(days=days))

    assert delete_old_drafts(timestamp=0) == 1 - left
    assert Draft.objects.count() == left


@pytest.mark.parametrize(("days", "accepted", "left"), [(31, False, 0), (29, False, 1), (31, True, 1)])
def test_invitation_that_nobody_accepted_goes_thirty_days_after_its_end(application, days, accepted, left):
    ended = timezone.now() - timedelta(days=days)
    Invitation.objects.create(
        application=application.row,
        email="grace@example.com",
        role="developer",
        expires_at=ended,
        accepted_at=ended if accepted else None,
    )

    assert delete_expired_invitations(timestamp=0) == 1 - left
    assert Invitation.objects.count() == left


@pytest.mark.parametrize(("days", "left"), [(401, 0), (399, 1)])
def test_count_of_activity_goes_after_four_hundred_days(application, days, left):
    day = timezone.now().date() - timedelta(days=days)
    ActivityCount.objects.create(application=application.row, day=day, kind="code_exchanged", count=1)

    assert delete_old_activity_counts(timestamp=0) == 1 - left
    assert ActivityCount.objects.count() == left


# --- how ------------------------------------------------------------------------------------------------


def expired_service_tokens(number):
    past = timezone.now() - timedelta(days=1)
    return AccessToken.objects.bulk_create(
        AccessToken(token="", token_checksum=f"{index:064}", expires=past) for index in range(number)
    )


@pytest.mark.django_db(transaction=True)
def test_what_was_deleted_before_the_worker_was_killed_stays_deleted_and_the_next_run_goes_on(
    small_batches, monkeypatch
):
    class KilledError(BaseException):
        pass

    expired_service_tokens(5)
    delete_batch, done = DeadRows.delete_batch, []

    def delete_two_batches(self):
        if len(done) == 2:
            raise KilledError
        done.append(delete_batch(self))
        return done[-1]

    monkeypatch.setattr(DeadRows, "delete_batch", delete_two_batches)
    with pytest.raises(KilledError):
        tasks.delete_dead_service_tokens(timestamp=0)
    assert AccessToken.objects.count() == 3

    monkeypatch.setattr(DeadRows, "delete_batch", delete_batch)
    assert tasks.delete_dead_service_tokens(timestamp=0) == 3
    assert not AccessToken.objects.exists()


@pytest.mark.django_db
def test_run_that_has_not_managed_everything_queues_the_next_one_behind_all_others(monkeypatch):
    expired_service_tokens(3)
    monkeypatch.setattr(chores, "RUN_SECONDS", -1)

    assert tasks.delete_dead_service_tokens(timestamp=0) == 0
    assert tasks.delete_dead_service_tokens(timestamp=0) == 0

    job = ProcrastinateJob.objects.get()
    assert job.task_name == "apps.tokens.tasks.delete_dead_service_tokens"
    assert job.priority < 0
    monkeypatch.undo()
    assert tasks.delete_dead_service_tokens(**job.args) == 3


@pytest.mark.django_db(transaction=True)
def test_rows_that_a_request_holds_are_passed_over_and_not_waited_for():
    held, *others = expired_service_tokens(3)
    gone = []

    def sweep():
        try:
            gone.append(tasks.delete_dead_service_tokens(timestamp=0))
        finally:
            connection.close()

    with transaction.atomic():
        AccessToken.objects.select_for_update().get(pk=held.pk)
        thread = threading.Thread(target=sweep)
        thread.start()
        thread.join(timeout=60)
        assert not thread.is_alive(), "it waits for the row"

    assert gone == [len(others)]
    assert AccessToken.objects.get().pk == held.pk


@pytest.mark.django_db(transaction=True)
def test_batch_does_not_wait_for_the_disk_and_what_comes_after_it_does():
    """Locks are held until the end of a transaction; what a crash loses of a batch is deleted again."""

    def setting():
        with connection.cursor() as cursor:
            cursor.execute("SHOW synchronous_commit")
            return cursor.fetchone()[0]

    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = on")  # as it is unless the server says otherwise
    try:
        with dead.short_transaction():
            within = setting()
        after = setting()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET synchronous_commit")

    assert (within, after) == ("off", "on")


@pytest.mark.django_db(transaction=True)
def test_family_that_a_request_holds_is_passed_over_and_not_waited_for(connect, make_application):
    application = make_application("portal")
    for _ in range(2):
        connect(application)
    age(last_lifetime("portal") + HOUR + SECOND)
    held, _other = TokenFamily.objects.all()
    gone = []

    def sweep():
        try:
            gone.append(tasks.delete_dead_families(timestamp=0))
        finally:
            connection.close()

    with transaction.atomic():
        TokenFamily.objects.select_for_update().get(pk=held.pk)
        thread = threading.Thread(target=sweep)
        thread.start()
        thread.join(timeout=60)
        assert not thread.is_alive(), "it waits for the family"

    assert gone == [3]
    assert TokenFamily.objects.get() == held


@pytest.mark.django_db(transaction=True)
def test_token_requests_do_not_wait_for_a_batch_that_is_under_way(connect, make_application, browser):
    """The batch is held open in the middle: a waiting request would be cut off by its lock timeout, and fail."""
    application = make_application("portal")
    connect(application)
    age(last_lifetime("portal") + HOUR + SECOND)
    live = connect(application)["refresh_token"]
    code = browser.authorize(application)
    families = next(kind for kind in find_dead_families(timezone.now()) if kind.count(10))
    answers = []

    def request(**fields):
        def send():
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SET lock_timeout = '2s'")
                answers.append(Client().post("/oauth/token", {**application.credentials, **fields}).status_code)
            finally:
                connection.close()

        thread = threading.Thread(target=send)
        thread.start()
        thread.join(timeout=60)

    with transaction.atomic():
        assert families.delete_batch().rows == 3
        request(grant_type="refresh_token", refresh_token=live)
        request(grant_type="authorization_code", code=code)

    assert answers == [200, 200]
    assert TokenFamily.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_batch_gives_up_what_it_cannot_lock_soon(connect, make_application, monkeypatch):
    """Somebody has locked a token without its family: the batch has locked the family, and must not sit on it."""
    connect(make_application("portal"))
    age(last_lifetime("portal") + HOUR + SECOND)
    errors = []

    def sweep():
        try:
            tasks.delete_dead_families(timestamp=0)
        except Exception as error:
            errors.append(type(error).__name__)
        finally:
            connection.close()

    with transaction.atomic():
        RefreshToken.objects.select_for_update().get()
        thread = threading.Thread(target=sweep)
        thread.start()
        thread.join(timeout=60)
        assert not thread.is_alive()

    assert errors == ["OperationalError"]
    assert HousekeepingRun.objects.get().error == "OperationalError"
    assert 0 < dead.LOCK_TIMEOUT_MS < 100
    assert tasks.delete_dead_families(timestamp=0) == 3


@pytest.fixture
def filled(member, make_application):
    """Tables as they are after a while: much that lives, little that is dead."""
    customer = make_application("customer").row
    portal = make_application("portal").row
    link = Connection.objects.create(user=member, application=portal)
    with connection.cursor() as cursor:
        values = {"user": member.pk, "application": portal.pk, "connection": link.pk, "customer": customer.pk}
        cursor.execute(
            """
            INSERT INTO oauth2_provider_accesstoken
                (user_id, application_id, token, token_checksum, expires, scope, resource, created, updated)
            SELECT CASE n %% 2 WHEN 0 THEN %(user)s::uuid END,
                   CASE n %% 4 WHEN 0 THEN %(customer)s::uuid ELSE %(application)s::uuid END, '', 'access-' || n,
                   now() + (n - 10) * interval '1 hour' - CASE n %% 4 WHEN 2 THEN interval '366 days' ELSE '0' END,
                   '', '[]', now(), now()
            FROM generate_series(1, 60000) n;
            """,
            values,
        )
        cursor.execute(
            """
            INSERT INTO tokens_tokenfamily (id, connection_id, access_token_id, scope, created_at, revoked_at)
            SELECT gen_random_uuid(), %(connection)s, id, '', now(),
                   CASE WHEN id %% 20 = 0 THEN now() - (id %% 31) * interval '1 day' END
            FROM oauth2_provider_accesstoken WHERE user_id IS NOT NULL
            """,
            values,
        )
        cursor.execute(
            """
            INSERT INTO oauth2_provider_refreshtoken
                (user_id, application_id, token, token_checksum, access_token_id, token_family, resource,
                 created, updated)
            SELECT %(user)s, %(application)s, '', 'refresh-' || a.id, a.id, f.id, '[]',
                   a.expires - interval '10 hours', now()
            FROM oauth2_provider_accesstoken a JOIN tokens_tokenfamily f ON f.access_token_id = a.id
            """,
            values,
        )
        cursor.execute(
            """
            INSERT INTO tokens_grant
                (code, expires, redirect_uri, scope, created, updated, code_challenge, code_challenge_method, nonce,
                 claims, resource, has_redirect_uri, application_id, connection_id, user_id, spent_at)
            SELECT 'code-' || n, now() - interval '1 hour' + (n - 500) * interval '1 minute', '', '', now(), now(), '',
                   '', '', '', '[]', true, %(application)s, %(connection)s, %(user)s,
                   CASE n %% 2 WHEN 0 THEN now() - interval '30 days' + (n - 500) * interval '1 minute' END
            FROM generate_series(1, 30000) n
            """,
            values,
        )
        for table in ("accesstoken", "refreshtoken"):
            cursor.execute(f"ANALYZE oauth2_provider_{table}")
        cursor.execute("ANALYZE tokens_tokenfamily, tokens_grant, developers_application")


def test_every_scan_goes_by_its_index(filled):
    found = {
        "tasks.delete_dead_codes": ["unspent_codes_by_end", "spent_codes_by_age"],
        "tasks.delete_dead_service_tokens": ["service_tokens_by_end"],
        "tasks.delete_dead_families": ["revoked_families_by_age", *["user_tokens_by_end"] * 2],
    }
    for name, indexes in found.items():
        for kind, index in zip(chores.CHORES[f"apps.tokens.{name}"].find_dead(timezone.now()), indexes, strict=True):
            rows = kind.families if isinstance(kind, DeadFamilies) else kind.rows
            plan = rows.select_for_update(skip_locked=True, of=("self",))[: kind.batch_size].explain()
            assert index in plan, plan
            assert "Seq Scan on oauth2" not in plan, plan
            assert "Seq Scan on tokens_grant" not in plan, plan


# --- what is on record --------------------------------------------------------------------------------


@pytest.mark.django_db
def test_each_run_is_noted_with_its_rows(codes):
    tasks.delete_dead_codes(timestamp=0)

    run = HousekeepingRun.objects.get()
    assert (run.task, run.rows, run.error) == ("apps.tokens.tasks.delete_dead_codes", 2, "")
    assert run.started_at <= run.ended_at


@pytest.mark.django_db
def test_old_records_of_runs_go():
    from apps.housekeeping.tasks import delete_old_runs

    now = timezone.now()
    for days in (31, 29):
        HousekeepingRun.objects.create(task="x", started_at=now - timedelta(days=days), ended_at=now)

    assert delete_old_runs(timestamp=0) == 1
    assert HousekeepingRun.objects.filter(task="x").count() == 1


def test_the_worker_knows_its_periodic_tasks():
    names = {periodic.task.name for periodic in app.periodic_registry.periodic_tasks.values()}

    assert names == {
        "apps.accounts.tasks.delete_old_admin_log",
        "apps.accounts.tasks.delete_expired_sessions",
        "apps.accounts.tasks.delete_left_log_ins",
        "apps.activity.tasks.delete_old_activity_counts",
        "apps.audit.tasks.anonymise_closed_accounts",
        "apps.audit.tasks.prune_audit_events",
        "apps.audit.tasks.seal_audit_events",
        "apps.developers.tasks.delete_expired_invitations",
        "apps.developers.tasks.delete_old_drafts",
        "apps.housekeeping.tasks.delete_old_runs",
        "apps.limits.tasks.delete_old_counts",
        "apps.organisations.tasks.remove_old_jobs",
        "apps.organisations.tasks.resume_jobs",
        "apps.tokens.tasks.delete_dead_codes",
        "apps.tokens.tasks.delete_dead_families",
        "apps.tokens.tasks.delete_dead_service_tokens",
        "apps.tokens.tasks.end_connections_of_deleted_applications",
        "apps.webhooks.tasks.delete_old_notifications",
        "apps.webhooks.tasks.forget_notifications_left",
        "apps.webhooks.tasks.wake_forgotten_endpoints",
    }
