"""The systemd units and the Kubernetes manifests: what hangs together with the image and the settings."""

import base64
import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyrage
import pytest
import yaml
from django.conf import settings

from apps.operations.web_server import STOP_SECONDS
from config.environment import VARIABLES

DEPLOY = Path(settings.BASE_DIR) / "deploy"
COMPONENT = "app.kubernetes.io/component"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((DEPLOY / "kubernetes/kustomization.yaml").read_text())


def manifests() -> list[dict[str, Any]]:
    paths = [DEPLOY / "kubernetes" / name for name in KUSTOMIZATION["resources"]]
    return [manifest for path in paths for manifest in yaml.safe_load_all(path.read_text())]


def workloads() -> list[dict[str, Any]]:
    return [manifest for manifest in manifests() if manifest["kind"] in ("Deployment", "Job", "CronJob")]


def pod_of(workload: dict[str, Any]) -> dict[str, Any]:
    spec = workload["spec"]["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else workload["spec"]
    pod: dict[str, Any] = spec["template"]["spec"]
    return pod


def named(kind: str, name: str) -> dict[str, Any]:
    [found] = [each for each in manifests() if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def variables_of_unit(unit: Path) -> set[str]:
    lines = [line.removeprefix("Environment=") for line in unit.read_text().splitlines()]
    words = [word for line in lines for word in line.split() if "=" in word and word.split("=")[0].isupper()]
    return {word.split("=")[0] for word in words}


def test_manage_has_the_settings_and_the_account_of_the_units() -> None:
    script = DEPLOY / "manage"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["sh", "-n", str(script)]).returncode == 0
    text = script.read_text()
    given = {line.split("=")[0] for line in text.splitlines() if line.split("=")[0].isupper()}
    for unit in UNITS:
        wanted = {name.removesuffix("_FILE") for name in variables_of_unit(unit)}
        assert wanted - given <= {"PYTHONUNBUFFERED", "MALLOC_ARENA_MAX"}
        lines = unit.read_text().splitlines()
        [account] = [line.removeprefix("User=") for line in lines if line.startswith("User=")]
        [settings_file] = [
            line.removeprefix("EnvironmentFile=") for line in lines if line.startswith("EnvironmentFile=")
        ]
        assert f"--reuid={account} " in text
        assert f". {settings_file}\n" in text


def test_manage_takes_files_from_where_one_stands_and_a_key_from_standard_input(tmp_path: Path) -> None:
    """`backup_key backup-key.txt` was written into the folder of the code, which belongs to root."""
    code, etc, here = tmp_path / "code", tmp_path / "etc", tmp_path / "here"
    for folder in (code / "venv/bin", etc, here):
        folder.mkdir(parents=True)
    (code / "manage.py").symlink_to(Path(settings.BASE_DIR) / "manage.py")
    # Not a link: Python would not find its libraries.
    (code / "venv/bin/python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (code / "venv/bin/python").chmod(0o755)
    (etc / "countersign.env").write_text("ALLOWED_HOSTS=sign.example.com\nDEFAULT_FROM_EMAIL='Acme <a@example.com>'\n")
    subprocess.run([sys.executable, str(DEPLOY / "make_secrets.py"), str(etc / "secrets")], check=True)
    text = (DEPLOY / "manage").read_text().replace("/etc/countersign", str(etc)).replace("/opt/countersign", str(code))
    # The account is not there on this machine.
    text, number = re.subn(r"setpriv --reuid=countersign --regid=countersign --clear-groups ", "", text)
    assert number == 1
    (tmp_path / "manage").write_text(text)
    clean = {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in VARIABLES}

    def manage(*arguments: str, typed: str = "") -> "subprocess.CompletedProcess[str]":
        command = ["sh", str(tmp_path / "manage"), *arguments]
        return subprocess.run(command, cwd=here, env=clean, input=typed, capture_output=True, text=True)

    made = manage("backup_key", "backup-key.txt")
    assert made.returncode == 0, made.stderr
    key = (here / "backup-key.txt").read_text()
    assert made.stdout.strip() in key
    (here / "x.age").write_bytes(pyrage.encrypt(b"no archive", [pyrage.x25519.Recipient.from_str(made.stdout.strip())]))
    # It was opened, and is none.
    refused = manage("restore", "x.age", "--check", "--identity-file", "-", typed=key)
    assert refused.returncode == 1
    assert "Nothing was changed. " in refused.stderr
    assert "key" not in refused.stderr.partition("Nothing was changed. ")[2]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd on this machine")
def test_systemd_understands_the_units_and_finds_them_hardened(tmp_path: Path) -> None:
    for path in (DEPLOY / "systemd").iterdir():
        text = path.read_text().replace("/opt/countersign/venv/bin/python", sys.executable)
        (tmp_path / path.name).write_text(text)
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.iterdir())],
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_unit_runs_a_command_that_exists_with_variables_that_are_read(unit: Path) -> None:
    text = unit.read_text()
    [command] = [line.split()[2] for line in text.splitlines() if line.startswith("ExecStart=") and "manage.py" in line]
    listed = subprocess.run(
        [sys.executable, "manage.py", "help", "--commands"], capture_output=True, text=True, check=True
    )
    assert command in listed.stdout.split()
    named = variables_of_unit(unit) - {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "MALLOC_ARENA_MAX"}
    assert "SECRET_KEY_FILE" in named
    assert {name.removesuffix("_FILE") for name in named} <= set(VARIABLES)
    for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet=", "User=countersign"):
        assert line in text.splitlines()


def test_units_start_without_the_database_and_only_the_target_migrates() -> None:
    """One moment without it at the start of the machine would otherwise leave everything off."""
    for name in ("web", "worker"):
        lines = (DEPLOY / f"systemd/countersign-{name}.service").read_text().splitlines()
        assert "After=countersign-migrate.service" in lines
        assert not [line for line in lines if line.startswith(("Requires=", "BindsTo=", "Requisite="))]
    migrate = (DEPLOY / "systemd/countersign-migrate.service").read_text()
    assert "--wait" in migrate
    assert "Restart=on-failure" in migrate.splitlines()
    [wants] = re.findall(r"^Wants=(.*)$", (DEPLOY / "systemd/countersign.target").read_text(), re.MULTILINE)
    assert wants.split() == [f"countersign-{name}.service" for name in ("migrate", "web", "worker")]


def test_backup_is_made_each_night_where_it_may_write_and_old_ones_go_only_after_a_new_one() -> None:
    lines = (DEPLOY / "systemd/countersign-backup.service").read_text().splitlines()
    make, delete = [line for line in lines if line.startswith("ExecStart=")]
    folder = make.split()[3]
    assert delete.split()[1] == folder
    assert f"StateDirectory=countersign {Path(folder).relative_to('/var/lib')}" in lines
    assert "Persistent=true" in (DEPLOY / "systemd/countersign-backup.timer").read_text().splitlines()


def test_kustomization_names_every_manifest_and_only_variables_that_are_read() -> None:
    there = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(KUSTOMIZATION["resources"]) == there
    [config] = KUSTOMIZATION["configMapGenerator"]
    values = dict(literal.split("=", 1) for literal in config["literals"])
    assert {name.removesuffix("_FILE") for name in values} <= set(VARIABLES)
    [secret] = KUSTOMIZATION["secretGenerator"]
    given = {f"/run/countersign/{Path(name).name}" for name in secret["files"]}
    assert {value for name, value in values.items() if name.endswith("_FILE")} == given


@pytest.mark.parametrize("workload", workloads(), ids=lambda workload: workload["metadata"]["name"])
def test_pod_keeps_to_the_restricted_standard_and_to_the_account_of_the_image(workload: dict[str, Any]) -> None:
    """Kubernetes, Pod Security Standards, "Restricted"; and a file system that cannot be written."""
    pod = pod_of(workload)
    context = pod["securityContext"]
    assert (context["runAsNonRoot"], context["runAsUser"], context["fsGroup"]) == (True, 10001, 10001)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"] == "512Mi"
    for container in pod.get("initContainers", []):
        # What Caddy's program has to have, and the only one that the standard lets be added.
        given = {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}
        assert container["securityContext"]["capabilities"] == given
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["resources"]["limits"]["memory"]


def test_whatever_a_manifest_names_is_there() -> None:
    """Config map, secret, volumes, images, ports, and pods of services and policies: kubectl checks none of it."""
    claims = {each["metadata"]["name"] for each in manifests() if each["kind"] == "PersistentVolumeClaim"}
    images = {each["name"] for each in KUSTOMIZATION["images"]}
    [config], [secret] = KUSTOMIZATION["configMapGenerator"], KUSTOMIZATION["secretGenerator"]
    components: dict[str, set[int]] = {}
    for workload in workloads():
        pod = pod_of(workload)
        containers = [*pod["containers"], *pod.get("initContainers", [])]
        mounted = {mount["name"] for container in containers for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        for volume in pod["volumes"]:
            assert volume.get("secret", {}).get("secretName", secret["name"]) == secret["name"]
            assert volume.get("persistentVolumeClaim", {}).get("claimName") in {None, *claims}
        for container in containers:
            assert container["image"] in images
            assert all(each["configMapRef"]["name"] == config["name"] for each in container.get("envFrom", []))
        spec = workload["spec"]["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else workload["spec"]
        labels = spec["template"]["metadata"]["labels"]
        ports = {port["containerPort"] for container in containers for port in container.get("ports", [])}
        components[labels[COMPONENT]] = ports
    for each in manifests():
        if each["kind"] == "Service":
            assert each["spec"]["ports"][0]["targetPort"] in components[each["spec"]["selector"][COMPONENT]]
        if each["kind"] == "NetworkPolicy":
            selector = each["spec"]["podSelector"]
            chosen = [*selector.get("matchLabels", {}).values()]
            chosen += [value for rule in selector.get("matchExpressions", []) for value in rule["values"]]
            assert chosen
            assert set(chosen) <= set(components)
    [ingress] = [manifest for manifest in manifests() if manifest["kind"] == "Ingress"]
    for path in ingress["spec"]["rules"][0]["http"]["paths"]:
        service = named("Service", path["backend"]["service"]["name"])
        assert path["backend"]["service"]["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl on this machine")
def test_kustomization_can_be_rendered_with_the_secrets_that_are_made_for_it(tmp_path: Path) -> None:
    folder = tmp_path / "kubernetes"
    shutil.copytree(DEPLOY / "kubernetes", folder, ignore=shutil.ignore_patterns("secrets"))
    (folder / "secrets").mkdir()
    (folder / "secrets/email_url").write_text("smtp+tls://mail.example.com:587")
    subprocess.run([sys.executable, str(DEPLOY / "make_secrets.py"), str(folder / "secrets")], check=True)
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rendered = list(yaml.safe_load_all(done.stdout))
    assert len(rendered) == len(manifests()) + 2
    assert {each["metadata"]["namespace"] for each in rendered} == {"countersign"}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl on this machine")
def test_earlier_secret_is_given_as_a_file_of_the_secret_when_its_two_lines_are_taken_in(tmp_path: Path) -> None:
    folder = tmp_path / "kubernetes"
    shutil.copytree(DEPLOY / "kubernetes", folder, ignore=shutil.ignore_patterns("secrets"))
    (folder / "secrets").mkdir()
    (folder / "secrets/email_url").write_text("smtp+tls://mail.example.com:587")
    earlier = secrets.token_urlsafe(64)
    (folder / "secrets/secret_key_fallbacks").write_text(earlier)
    subprocess.run([sys.executable, str(DEPLOY / "make_secrets.py"), str(folder / "secrets")], check=True)
    file = folder / "kustomization.yaml"
    text, taken_in = re.subn(r"# (- .*secret_key_fallbacks)$", r"\1", file.read_text(), flags=re.MULTILINE)
    assert taken_in == 2
    file.write_text(text)
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kinds = {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}
    path = kinds["ConfigMap"]["data"]["SECRET_KEY_FALLBACKS_FILE"]
    assert base64.b64decode(kinds["Secret"]["data"][Path(path).name]).decode() == earlier
    assert earlier not in str(kinds["ConfigMap"])


def test_pods_that_share_the_volume_of_the_backups_can_be_on_one_node() -> None:
    """It is ReadWriteOnce: on another node the second pod would wait for ever."""
    cron, tools = named("CronJob", "countersign-backup"), named("Deployment", "countersign-tools")
    [near] = pod_of(cron)["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert near["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    labels = tools["spec"]["template"]["metadata"]["labels"]
    assert near["podAffinityTerm"]["labelSelector"]["matchLabels"] == {COMPONENT: labels[COMPONENT]}
    assert tools["spec"]["strategy"] == {"type": "Recreate"}


def test_backups_are_made_each_night_on_a_volume_of_their_own_and_restored_without_keeping_the_key() -> None:
    cron, tools = named("CronJob", "countersign-backup"), named("Deployment", "countersign-tools")
    command = pod_of(cron)["containers"][0]["args"][-1]
    make, _, delete = command.partition(" && ")
    assert make.split()[:4] == ["python", "manage.py", "backup", "/backups/"]
    assert delete.startswith("find /backups ")
    assert tools["spec"]["replicas"] == 0
    for workload in (cron, tools):
        pod = pod_of(workload)
        mounts = {mount["mountPath"]: mount for mount in pod["containers"][0]["volumeMounts"]}
        assert not mounts["/backups"].get("readOnly")
        assert "/var/lib/countersign" in mounts
        claims = {volume["name"]: volume.get("persistentVolumeClaim", {}).get("claimName") for volume in pod["volumes"]}
        assert claims[mounts["/backups"]["name"]] == "countersign-backups"
    # The pictures are restored too.
    assert not mounts["/var/lib/countersign"].get("readOnly")
    values = dict(literal.split("=", 1) for literal in KUSTOMIZATION["configMapGenerator"][0]["literals"])
    assert "BACKUP_RECIPIENTS" in values
    assert "BACKUP_IDENTITY" not in values


def test_migration_waits_for_no_volume_and_the_ingress_names_its_controller() -> None:
    [job] = [workload for workload in workloads() if workload["kind"] == "Job"]
    pod = job["spec"]["template"]["spec"]
    assert [volume["name"] for volume in pod["volumes"]] == ["secrets", "tmp"]
    assert "--wait" in pod["containers"][0]["args"]
    [ingress] = [manifest for manifest in manifests() if manifest["kind"] == "Ingress"]
    assert ingress["spec"]["ingressClassName"]


def test_web_server_is_asked_both_signs_of_life_and_gets_time_to_stop() -> None:
    [web] = [workload for workload in workloads() if workload["metadata"]["name"] == "countersign-web"]
    pod = web["spec"]["template"]["spec"]
    [container] = pod["containers"]
    alive = container["livenessProbe"]
    assert alive["httpGet"]["path"] == "/livez"
    # A rush that keeps every thread busy for a while must not end in a restart, which makes it longer.
    assert alive["failureThreshold"] * alive["periodSeconds"] >= 120
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert pod["terminationGracePeriodSeconds"] > container["lifecycle"]["preStop"]["sleep"]["seconds"] + STOP_SECONDS
    assert web["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
