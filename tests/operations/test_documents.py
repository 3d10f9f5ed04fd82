"""What docs/operating.md says of settings, limits and alerts, held against what there is."""

import re
from pathlib import Path

import pytest
import yaml
from django.conf import settings
from django.core.management import get_commands

from config.environment import VARIABLES

ROOT = Path(settings.BASE_DIR)
OPERATING = (ROOT / "docs/operating.md").read_text()
ALERTS = {
    rule["alert"]
    for group in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}
#: Variables of other programs: of Docker Compose and its proxy, of psql, of OpenSSL, and what
#: OpenTelemetry reads by itself.
OTHERS = {
    "COMPOSE_FILE",
    "COUNTERSIGN_CDN",
    "COUNTERSIGN_IMAGE",
    "COUNTERSIGN_IPV6",
    "ON_ERROR_STOP",
    "COUNTERSIGN_SITES",
    "WEB_HOST",
    "SSL_CERT_FILE",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
}
#: The pattern of a name, and a slip that is told of.
WORDS = {"NAME_FILE", "TRUSTED_PROXY"}


def rows_under(heading: str, text: str = OPERATING) -> list[list[str]]:
    """Return the cells of the tables under a heading, without their heads."""
    [section] = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_table_of_limits_has_each_with_its_default_and_no_other() -> None:
    told = {cells[0].strip("`"): cells[1] for cells in rows_under("Limits")}
    declared = {
        name.removeprefix("RATE_LIMIT_"): str(variable.default)
        for name, variable in VARIABLES.items()
        if name.startswith("RATE_LIMIT_")
    }
    assert len(declared) > 10
    assert told == declared


def test_table_of_alerts_has_each_once_and_no_other() -> None:
    told = [cells[0].strip("`") for cells in rows_under("What to watch")]
    assert len(ALERTS) > 10
    assert sorted(told) == sorted(ALERTS)
    assert all(len(cells) == 3 and all(cells) for cells in rows_under("What to watch"))


def test_settings_that_are_named_are_declared() -> None:
    named = set(re.findall(r"(?<![\w/-])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?![\w…-])", OPERATING)) - OTHERS - WORDS
    limits = {f"RATE_LIMIT_{cells[0].strip('`')}" for cells in rows_under("Limits")}
    shorter = {name.removeprefix("RATE_LIMIT_") for name in limits}
    assert "DATABASE_POOL_SIZE" in named
    unknown = {name for name in named if name not in VARIABLES and name.removesuffix("_FILE") not in VARIABLES}
    assert unknown - shorter == set()


def test_settings_that_are_given_a_value_are_declared() -> None:
    """`NAME=value`, in commands and in text: names without an underscore too."""
    given = set(re.findall(r"(?<![\w-])([A-Z][A-Z0-9_]*)=", OPERATING)) - OTHERS
    assert {"ALLOWED_HOSTS", "EMAIL_URL"} <= given
    assert {name for name in given if name not in VARIABLES and name.removesuffix("_FILE") not in VARIABLES} == set()


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"(?<![\w/.-])(?:deploy|script|tests)/(?!countersign-[wt])[\w./-]+\w", OPERATING)))
)
def test_file_that_is_named_exists(path: str) -> None:
    # The host makes the latter.
    assert (ROOT / path).exists() or path.startswith("deploy/kubernetes/secrets")


def test_contents_lead_to_headings_that_there_are() -> None:
    headings = re.findall(r"^## (.+)$", OPERATING, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    linked = set(re.findall(r"\(#([\w-]+)\)", OPERATING))
    assert linked == anchors


def test_commands_of_manage_exist() -> None:
    named = set(re.findall(r"manage\.py ([a-z_]+)", OPERATING)) | set(
        re.findall(r"countersign-manage ([a-z_]+)", OPERATING)
    )
    assert {"serve", "work", "doctor", "backup"} <= named
    assert named <= set(get_commands())
