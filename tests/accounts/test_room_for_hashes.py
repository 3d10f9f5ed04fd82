"""However many people log in at once: the hashes of their passwords fit into the memory that the web server has."""

from pathlib import Path

import pytest
import yaml
from django.conf import settings

from apps.accounts import room_for_hashes
from apps.accounts.hashers import PasswordHasher
from apps.accounts.room_for_hashes import HASH_BYTES, MEBIBYTE, PROCESS_BYTES, hashes_at_once, is_enough, memory_limit
from config.environment import VARIABLES

DEPLOY = Path(settings.BASE_DIR) / "deploy"


@pytest.mark.parametrize("processors", [1, 2, 4, 8, 64])
@pytest.mark.parametrize("processes", [1, 2, 3, 4])
@pytest.mark.parametrize("memory", [512, 1024, 2048, 65_536])
def test_hashes_of_all_processes_fit_beside_the_processes_whatever_the_machine(processors, processes, memory):
    each = hashes_at_once(processes=processes, processors=processors, memory=memory * MEBIBYTE)

    assert each >= 1
    if is_enough(processes=processes, memory=memory * MEBIBYTE):
        assert processes * (PROCESS_BYTES + each * HASH_BYTES) <= memory * MEBIBYTE
        assert each == 1 or processes * each <= processors
    else:
        assert each == 1


@pytest.mark.parametrize("processors", [4, 8])
@pytest.mark.parametrize(("processes", "each"), [(1, 4), (2, 1), (3, 1), (4, 1)])
def test_half_a_gigabyte_bears_one_hash_in_each_of_two_processes(processors, processes, each):
    assert hashes_at_once(processes=processes, processors=processors, memory=512 * MEBIBYTE) == each
    assert is_enough(processes=processes, memory=512 * MEBIBYTE) is (processes <= 2)


def test_more_memory_is_used_as_far_as_there_are_processors():
    assert hashes_at_once(processes=2, processors=8, memory=1024 * MEBIBYTE) == 4
    assert hashes_at_once(processes=2, processors=4, memory=8192 * MEBIBYTE) == 2
    assert hashes_at_once(processes=2, processors=2, memory=8192 * MEBIBYTE) == 1


def test_a_hash_takes_what_is_counted_for_it():
    assert PasswordHasher.memory_cost * 1024 == HASH_BYTES


def test_what_we_deploy_gives_the_web_server_what_its_processes_need():
    processes = VARIABLES["WEB_PROCESSES"].default
    compose = yaml.safe_load((Path(settings.BASE_DIR) / "docker-compose.yml").read_text())
    unit = (DEPLOY / "systemd/countersign-web.service").read_text()
    [web] = [
        each
        for each in yaml.safe_load_all((DEPLOY / "kubernetes/web.yaml").read_text())
        if each["kind"] == "Deployment"
    ]
    [container] = web["spec"]["template"]["spec"]["containers"]

    limits = [compose["services"]["web"]["mem_limit"], container["resources"]["limits"]["memory"]]
    limits += [line.removeprefix("MemoryMax=") for line in unit.splitlines() if line.startswith("MemoryMax=")]
    assert len(limits) == 3
    for limit in limits:
        assert is_enough(processes=processes, memory=int(limit.rstrip("mMi")) * MEBIBYTE)


# --- what the machine says -----------------------------------------------------------------------------------


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Be in control groups with such limits; returns what puts the process into them."""
    monkeypatch.setattr(room_for_hashes, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(room_for_hashes, "_MEMBERSHIPS", tmp_path / "memberships")

    def join(memberships, **limits):
        (tmp_path / "memberships").write_text(memberships)
        for path, text in limits.items():
            file = tmp_path / "groups" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text}\n")

    return join


def test_limit_of_a_container_is_read(groups):
    groups("0::/\n", **{"memory.max": 512 * MEBIBYTE})
    assert memory_limit() == 512 * MEBIBYTE


def test_tightest_limit_up_to_the_root_is_taken(groups):
    groups(
        "0::/system.slice/countersign-web.service\n",
        **{
            "system.slice/countersign-web.service/memory.max": "max",
            "system.slice/countersign-web.service/memory.high": 300 * MEBIBYTE,
            "system.slice/memory.max": 400 * MEBIBYTE,
        },
    )
    assert memory_limit() == 300 * MEBIBYTE


@pytest.mark.parametrize("file", ["memory/docker/abc/memory.limit_in_bytes", "memory/memory.limit_in_bytes"])
def test_limit_of_version_1_is_read_wherever_the_container_shows_it(groups, file):
    groups("4:cpu,memory:/docker/abc\n1:name=systemd:/\n0::/\n", **{file: 256 * MEBIBYTE})
    assert memory_limit() == 256 * MEBIBYTE


@pytest.mark.parametrize("text", ["max", "", str(2**63 - 4096), "nonsense"])
def test_without_a_limit_it_is_what_the_machine_has(groups, text):
    groups("0::/\n", **{"memory.max": text})
    machine = Path("/proc/meminfo").read_text().split()[1]
    assert memory_limit() == pytest.approx(int(machine) * 1024, rel=0.01)


def test_machine_without_control_groups_has_a_limit_too(tmp_path, monkeypatch):
    monkeypatch.setattr(room_for_hashes, "_MEMBERSHIPS", tmp_path / "nothing")
    assert memory_limit() > 128 * MEBIBYTE
