"""The dashboard and the alerts: what they ask for exists, under that name and with those labels."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from django.conf import settings

from apps.operations.gauges import DeploymentGauges
from apps.telemetry import metrics

DEPLOY = Path(settings.BASE_DIR, "deploy")
DASHBOARD = json.loads((DEPLOY / "grafana" / "countersign.json").read_text())
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
SCRAPES = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())

PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]] + [rule["expr"] for rule in RULES]
#: Given by Prometheus itself.
ITS_OWN = {"job", "instance", "le"}


@pytest.fixture(scope="module")
def labels_of(django_db_setup, django_db_blocker):
    """The labels of each sample that we tell, by its name; of what is counted, as declared."""
    found = {}
    for collector in metrics.REGISTRY._collector_to_names:
        for family in collector.describe():
            names = [f"{family.name}{end}" for end in ("", "_total", "_bucket", "_sum", "_count")]
            found |= {name: set(collector._labelnames) for name in names}
    with django_db_blocker.unblock():
        found |= {family.name: set(family._labelnames) for family in DeploymentGauges().collect()}
    # Told once a worker has begun.
    found["countersign_worker_heartbeat_age_seconds"] = set()
    return found


@pytest.mark.django_db
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_is_asked_for_is_told(expression, labels_of):
    names = re.findall(r"\bcountersign_\w+", expression)
    assert names or expression.startswith('up{job=~"countersign-.*"}')
    for name in names:
        assert name in labels_of, name
    known = set().union(*(labels_of[name] for name in names)) | ITS_OWN
    for labels in re.findall(r"\b(?:by|on|without) \(([^)]*)\)", expression):
        assert {label.strip() for label in labels.split(",")} <= known
    for name, matchers in re.findall(r"\b(countersign_\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*[=!]", matchers)) <= labels_of[name] | ITS_OWN


def test_words_that_are_asked_for_are_counted():
    for expression in EXPRESSIONS:
        for words in re.findall(r'oauth_requests_total\{[^}]*outcome[=!]~?"([^"]+)"', expression):
            assert set(words.split("|")) <= metrics.OUTCOMES
        for word in re.findall(r'mails_total\{outcome="([^"]+)"', expression):
            assert (word,) in metrics.mails._metrics
        for word in re.findall(r'logins_total\{outcome!?="([^"]+)"', expression):
            assert (word,) in metrics.logins._metrics


def test_alerts_say_what_is_wrong_and_how_bad():
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["alert"].startswith("Countersign")
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"].endswith(".")


def test_panels_have_their_place_and_their_data_source():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (column, line)
            for column in range(place["x"], place["x"] + place["w"])
            for line in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(column for column, _line in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    [variable] = DASHBOARD["templating"]["list"]
    for panel in PANELS:
        for place in [panel, *panel["targets"]]:
            assert place["datasource"] == {"type": "prometheus", "uid": f"${{{variable['name']}}}"}
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
        assert all((panel["title"], panel["description"]))


def test_scrapes_send_the_token_to_the_addresses_that_we_answer():
    for scrape in SCRAPES["scrape_configs"]:
        assert scrape["metrics_path"] == "/metrics"
        assert scrape["authorization"]["credentials_file"]


def test_scrapes_go_to_every_container_of_the_services_in_compose():
    services = yaml.safe_load(Path(settings.BASE_DIR, "docker-compose.yml").read_text())["services"]
    image = Path(settings.BASE_DIR, "Dockerfile").read_text()
    ports = {
        "web": re.search(r"^EXPOSE (\d+)$", image, re.M)[1],
        "worker": services["worker"]["environment"]["METRICS_PORT"],
    }
    for scrape in SCRAPES["scrape_configs"]:
        [found] = scrape["dns_sd_configs"]
        [service] = found["names"]
        assert (scrape["job_name"], found["type"]) == (f"countersign-{service}", "A")
        assert str(found["port"]) == ports[service]


def test_configuration_is_one_that_prometheus_takes(tmp_path):
    """Its own program reads both files."""
    for name in ("prometheus.yml", "alerts.yml"):
        shutil.copy(DEPLOY / "prometheus" / name, tmp_path / name)
    text = (tmp_path / "prometheus.yml").read_text()
    token = tmp_path / "metrics_token"
    token.write_text("x")
    (tmp_path / "prometheus.yml").write_text(text.replace("/run/secrets/metrics_token", str(token)))
    program = shutil.which("promtool")
    assert program, "install promtool (Debian: apt-get install prometheus)"

    done = subprocess.run([program, "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
