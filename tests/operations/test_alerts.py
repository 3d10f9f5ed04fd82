"""Each alert rule, in its own words, as Prometheus evaluates it: when it fires, and when it does not."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from django.conf import settings

ALERTS = Path(settings.BASE_DIR, "deploy", "prometheus", "alerts.yml")
RULES = {rule["alert"]: rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}
#: Seconds between two scrapes.
EACH = 15
#: The same in cases of many hours, to have fewer steps; Prometheus forgets a value after 300.
LONG = 240
HOUR, DAY = 3_600, 86_400
UP = {'up{job="countersign-web",instance="web"}': "1x99", 'up{job="countersign-worker",instance="worker"}': "1x99"}


@dataclass(frozen=True)
class Case:
    """Series, as `promtool test rules` writes them, and whether the alert fires after so many seconds."""

    alert: str
    what: str
    series: dict[str, str]
    after: int
    fires: bool
    each: int = EACH

    def __str__(self) -> str:
        return f"{self.alert.removeprefix('Countersign')} {self.what}"


def steps(*instants: int, until: int, each: int = EACH) -> str:
    """A counter that has gone up by one at each of these seconds."""
    return " ".join(str(sum(1 for at in instants if at <= now)) for now in range(0, until + each, each))


def ages(*spans: tuple[int, int], until: int, each: int = EACH) -> str:
    """How old the oldest is of those that are there from one second to another."""
    return " ".join(
        str(max((now - begin for begin, end in spans if begin <= now < end), default=0))
        for now in range(0, until + each, each)
    )


def tries(begin: int, until: int) -> list[int]:
    """When a mail that cannot be sent is tried (apps/organisations/tasks.py), with half a second for each try."""
    at, found = float(begin), []
    for number in range(1, 11):
        if at > until:
            break
        found.append(int(at))
        at += 3**number + 0.5
    return found


def mails(
    *begun: int,
    until: int,
    sent: tuple[int, ...] = (),
    full: tuple[int, ...] = (),
    ended: int = 99 * DAY,
    each: int = EACH,
):
    """The worker's and the queue's figures with mails that are queued at these seconds and do not leave.

    Those of `full` are put off at their first try, and age no more (tests/operations/test_gauges.py).
    """
    failed = sorted(at for begin in begun for at in tries(begin, min(until, ended)))
    put_off = sorted(at for begin in full for at in tries(begin, until))
    spans = [(begin, ended) for begin in begun]
    return {
        'countersign_mails_total{outcome="tried_again",instance="w"}': steps(*failed, until=until, each=each),
        'countersign_mails_total{outcome="put_off",instance="w"}': steps(*put_off, until=until, each=each),
        'countersign_mails_total{outcome="sent",instance="w"}': steps(*sent, until=until, each=each),
        'countersign_mail_oldest_unsent_age_seconds{instance="a"}': ages(*spans, until=until, each=each),
    }


def requests(*, good: str, bad: str) -> dict[str, str]:
    return {
        'countersign_requests_total{door="home",method="GET",status="200",instance="a"}': good,
        'countersign_requests_total{door="home",method="GET",status="500",instance="a"}': bad,
    }


def oauth(**outcomes: str) -> dict[str, str]:
    name = 'countersign_oauth_requests_total{{door="token",grant="refresh_token",outcome="{}",instance="a"}}'
    return {name.format(outcome): values for outcome, values in outcomes.items()}


def deliveries(**outcomes: str) -> dict[str, str]:
    name = 'countersign_webhook_deliveries_total{{outcome="{}",instance="w"}}'
    return {name.format(outcome): values for outcome, values in outcomes.items()}


def log_ins(*, ok: str, refused: str) -> dict[str, str]:
    name = 'countersign_logins_total{{outcome="{}",instance="a"}}'
    return {name.format("ok"): ok, name.format("refused"): refused}


def chore(values: str) -> dict[str, str]:
    return {'countersign_housekeeping_last_success_timestamp_seconds{task="a",instance="a"}': values}


def connections(active: str) -> dict[str, str]:
    return {
        'countersign_database_connections{state="active",instance="a"}': active,
        'countersign_database_connections{state="idle",instance="a"}': "10x99",
        'countersign_database_max_connections{instance="a"}': "100x99",
    }


def token_seconds(slow: str) -> dict[str, str]:
    """A hundred token requests in each scrape, and of them so many that took two seconds."""
    name = 'countersign_request_seconds_bucket{{door="token",le="{}",instance="a"}}'
    return {
        name.format("1"): f"0+{100 - int(slow)}x99",
        name.format("2.5"): "0+100x99",
        name.format("+Inf"): "0+100x99",
    }


DOWN, SERVER_ERRORS, MAIL_AWAY = "CountersignDown", "CountersignServerErrors", "CountersignMailServerAway"
GIVEN_UP, FAIL, REFUSED = "CountersignMailGivenUp", "CountersignDeliveriesFail", "CountersignClientsRefused"
LATE, NEVER, BACKUP = "CountersignHousekeepingLate", "CountersignHousekeepingNever", "CountersignBackupLate"
HOURLY = tuple(range(60, 8 * HOUR, HOUR))

CASES = [
    Case(DOWN, "while both answer", UP, 600, False),
    Case(DOWN, "when one is away", UP | {'up{job="countersign-web",instance="b"}': "1x10 0x99"}, 600, True),
    Case(DOWN, "when no worker is known", dict(list(UP.items())[:1]), 600, True),
    Case(DOWN, "when no web server is known", dict(list(UP.items())[1:]), 600, True),
    Case("CountersignDatabaseAway", "when all say so", {'countersign_database_up{instance="a"}': "0x99"}, 600, True),
    Case(
        "CountersignDatabaseAway",
        "while one reaches it",
        {'countersign_database_up{instance="a"}': "0x99", 'countersign_database_up{instance="b"}': "1x99"},
        600,
        False,
    ),
    Case(SERVER_ERRORS, "with 2 of 100", requests(good="0+98x99", bad="0+2x99"), 900, True),
    Case(SERVER_ERRORS, "with 5 of 1000", requests(good="0+995x99", bad="0+5x99"), 900, False),
    Case(SERVER_ERRORS, "when all of a few fail", requests(good="0x99", bad="0+1x99"), 900, True),
    # Four requests a minute, and two errors three minutes apart.
    *(
        Case(
            SERVER_ERRORS,
            f"after {after} s of a quiet night",
            requests(good="0+1x99", bad="0x20 1x11 2x99"),
            after,
            False,
        )
        for after in (600, 690, 780)
    ),
    Case("CountersignTokensSlow", "with 2 of 100", token_seconds("2"), 1_300, True),
    Case("CountersignTokensSlow", "with none", token_seconds("0"), 1_300, False),
    Case("CountersignNoWorker", "without any", {'countersign_workers{instance="a"}': "0x99"}, 600, True),
    Case("CountersignNoWorker", "with one", {'countersign_workers{instance="a"}': "1x99"}, 600, False),
    Case(
        "CountersignQueueLate",
        "after six minutes",
        {'countersign_queue_oldest_job_age_seconds{queue="mail",instance="a"}': "360x99"},
        600,
        True,
    ),
    Case(
        "CountersignQueueLate",
        "after one minute",
        {'countersign_queue_oldest_job_age_seconds{queue="mail",instance="a"}': "60x99"},
        600,
        False,
    ),
    Case(GIVEN_UP, "after one", {'countersign_mails_total{outcome="given_up",instance="w"}': "0x9 1x99"}, 600, True),
    Case(GIVEN_UP, "without any", {'countersign_mails_total{outcome="given_up",instance="w"}': "0x99"}, 600, False),
    # The mail server is away for eight hours, with one mail an hour.
    *(
        Case(
            MAIL_AWAY,
            f"after {after} s, one mail an hour",
            mails(*HOURLY, until=8 * HOUR, each=LONG),
            after,
            fires,
            each=LONG,
        )
        for after, fires in ((600, False), (1_680, True), (HOUR, True), (4 * HOUR, True), (8 * HOUR, True))
    ),
    *(
        Case(
            MAIL_AWAY,
            f"after {after} s with one mail in all",
            mails(60, until=20 * HOUR, each=LONG),
            after,
            True,
            each=LONG,
        )
        for after in (2 * HOUR, 10 * HOUR, 20 * HOUR)
    ),
    Case(MAIL_AWAY, "with a mail a minute", mails(*range(60, HOUR, 60), until=HOUR), 1_500, True),
    Case(MAIL_AWAY, "after one retry", mails(60, until=HOUR, sent=(63,), ended=63), HOUR, False),
    # Away for ten minutes: the mail of before leaves after eighteen.
    *(
        Case(MAIL_AWAY, f"{after} s after a restart", mails(60, until=HOUR, sent=(1_160,), ended=1_160), after, False)
        for after in (960, 1_140, 1_200, HOUR)
    ),
    *(
        Case(
            MAIL_AWAY,
            f"after {after} s with a full mailbox",
            mails(full=(60,), until=8 * HOUR, each=LONG),
            after,
            False,
            each=LONG,
        )
        for after in (1_500, 8 * HOUR)
    ),
    # And the server was away for five minutes besides: the mail of that time leaves after six.
    *(
        Case(
            MAIL_AWAY,
            f"{after} s after a restart in a quiet night with a full mailbox",
            mails(3_600, until=8 * HOUR, full=(60,), sent=(3_966,), ended=3_966, each=LONG),
            after,
            False,
            each=LONG,
        )
        for after in (HOUR + 1_200, 2 * HOUR, 4 * HOUR, 8 * HOUR)
    ),
    Case(
        MAIL_AWAY,
        "when others leave",
        mails(60, until=HOUR, sent=tuple(range(30, HOUR, 300))),
        HOUR,
        False,
    ),
    Case(FAIL, "when most do", deliveries(delivered="0+1x999", status="0+2x999"), 2 * HOUR, True),
    Case(FAIL, "when few do", deliveries(delivered="0+2x999", status="0+1x999"), 2 * HOUR, False),
    # Five tries of one notification, in a night without another.
    Case(FAIL, "for one notification", deliveries(status=steps(60, 65, 125, 425, 1_325, until=HOUR)), 1_900, False),
    Case(
        "CountersignWebhookKeysClosed", "when one is", deliveries(delivered="0+9x99", key_closed="0x20 1x20"), 360, True
    ),
    Case("CountersignWebhookKeysClosed", "without any", deliveries(status="0+1x99", key_closed="0x99"), 600, False),
    Case("CountersignLogInsRefused", "with many", log_ins(ok="0+1x99", refused="0+15x99"), 1_300, True),
    Case("CountersignLogInsRefused", "on a busy day", log_ins(ok="0+15x99", refused="0+15x99"), 1_300, False),
    Case(REFUSED, "more than accepted", oauth(ok="0+5x200", invalid_client="0+15x200"), 2_400, True),
    Case(REFUSED, "fewer than accepted", oauth(ok="0+50x200", invalid_client="0+15x200"), 2_400, False),
    Case(REFUSED, "with none accepted ever", oauth(invalid_client="0+15x200"), 2_400, True),
    Case(REFUSED, "now and then", oauth(invalid_client="0+1x200"), 2_400, False),
    *(
        Case(
            "CountersignSigningKeyOld",
            f"at {days} days",
            {'countersign_signing_key_age_seconds{algorithm="RS256",instance="a"}': f"{days * DAY}x999"},
            2 * HOUR,
            days > 400,
        )
        for days in (390, 401)
    ),
    Case(LATE, "after 27 hours", chore("60x999"), 27 * HOUR, True, each=LONG),
    Case(LATE, "after 25 hours", chore("60x999"), 25 * HOUR, False, each=LONG),
    Case(LATE, "before the first time", chore("0x999"), 27 * HOUR, False, each=LONG),
    Case(NEVER, "after 27 hours", chore("0x999"), 27 * HOUR, True, each=LONG),
    Case(NEVER, "after 25 hours", chore("0x999"), 25 * HOUR, False, each=LONG),
    Case(NEVER, "after the first time", chore("0x75 18000x999"), 27 * HOUR, False, each=LONG),
    *(
        Case(
            BACKUP,
            f"after {hours} hours",
            {'countersign_backup_last_success_timestamp_seconds{instance="a"}': "60x999"},
            hours * HOUR,
            hours > 26,
            each=LONG,
        )
        for hours in (25, 27)
    ),
    Case("CountersignConnectionsRunOut", "with 85 of 100", connections("75x99"), 600, True),
    Case("CountersignConnectionsRunOut", "with 50 of 100", connections("40x99"), 600, False),
    *(
        Case(
            "CountersignPoolExhausted",
            what,
            {'countersign_database_pool_failures_total{instance="a"}': values},
            600,
            values != "0x99",
        )
        for what, values in (("with some", "0+1x99"), ("without any", "0x99"))
    ),
]


def promtool(folder: Path, test: dict, *, each: int = EACH) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    assert program, "install promtool (Debian: apt-get install prometheus)"
    file = folder / "tests.yml"
    content = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": f"{each}s",
        "tests": [test | {"interval": f"{each}s"}],
    }
    file.write_text(yaml.safe_dump(content))
    return subprocess.run([program, "test", "rules", file], capture_output=True, text=True)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_alert_fires_when_it_should_and_only_then(case, tmp_path):
    firing = f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}}) or vector(0)'
    test = {
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "promql_expr_test": [
            {
                "expr": f"({firing}) > bool 0",
                "eval_time": f"{case.after}s",
                "exp_samples": [{"labels": "{}", "value": int(case.fires)}],
            }
        ],
    }

    done = promtool(tmp_path, test, each=case.each)

    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_been_seen_to_fire_and_to_keep_still():
    for fires in (True, False):
        assert {case.alert for case in CASES if case.fires is fires} == set(RULES)


@pytest.mark.parametrize(
    ("series", "labels", "summary"),
    [
        (
            UP | {'up{job="countersign-web",instance="b"}': "0x99"},
            {"job": "countersign-web", "instance": "b"},
            "countersign-web b does not answer Prometheus.",
        ),
        (
            dict(list(UP.items())[:1]),
            {"job": "countersign-worker"},
            "countersign-worker  does not answer Prometheus.",
        ),
    ],
    ids=["one of them", "all of them"],
)
def test_what_is_down_is_named(series, labels, summary, tmp_path):
    test = {
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {
                "eval_time": "10m",
                "alertname": DOWN,
                "exp_alerts": [{"exp_labels": labels | {"severity": "page"}, "exp_annotations": {"summary": summary}}],
            }
        ],
    }

    done = promtool(tmp_path, test)

    assert done.returncode == 0, done.stdout + done.stderr
