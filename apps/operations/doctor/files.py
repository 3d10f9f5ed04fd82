"""What is on disk and in memory, and the caches."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import redis
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.cache import caches

from apps.accounts.room_for_hashes import MEBIBYTE, hashes_at_once, is_enough, memory_limit, memory_needed
from apps.operations.doctor.findings import Finding, Patient, ok, plural, problem, warning

GIGABYTE = 1_000_000_000
#: For each answer of Valkey.
VALKEY_SECONDS = 2
LITTLE_ROOM, HARDLY_ROOM = 1 * GIGABYTE, GIGABYTE // 10


def examine_media(patient: Patient) -> Iterator[Finding]:
    """Can an uploaded picture be kept?"""
    folder = Path(settings.MEDIA_ROOT)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"doctor")
    except OSError as error:
        yield problem(
            f"{folder} cannot be written to: {error.strerror}.",
            "Give the folder to the user that runs the server, or set VAR_DIR to one that is.",
        )
    else:
        yield ok(f"{folder} can be written to")


def examine_disk(patient: Patient) -> Iterator[Finding]:
    """How much room is left? The database's disk is only seen by its own server."""
    folder = next(path for path in (settings.VAR_DIR, *settings.VAR_DIR.absolute().parents) if path.exists())
    usage = shutil.disk_usage(folder)
    what = f"{usage.free / GIGABYTE:.1f} GB of {usage.total / GIGABYTE:.1f} GB are free at {settings.VAR_DIR}"
    advice = "Make room, or give the volume more."
    if usage.free < HARDLY_ROOM:
        yield problem(f"{what}.", advice)
    elif usage.free < LITTLE_ROOM:
        yield warning(f"{what}.", advice)
    else:
        yield ok(what)


def examine_memory(patient: Patient) -> Iterator[Finding]:
    """Do the web server's processes fit into the memory, while each hashes passwords?"""
    processes, memory = settings.WEB_PROCESSES, memory_limit()
    have = f"{memory // MEBIBYTE} MiB here"
    if is_enough(processes=processes, memory=memory):
        each = hashes_at_once(processes=processes, processors=os.cpu_count() or 1, memory=memory)
        yield ok(f"{have}: {plural(processes, 'web process', 'web processes')}, {each} hashing at once in each")
    else:
        yield warning(
            f"{have}: WEB_PROCESSES={processes} need {memory_needed(processes) // MEBIBYTE} MiB when many people log in"
            " at once, and the system may end the web server.",
            f"Allow it that much, or set WEB_PROCESSES to {max(1, memory // memory_needed(1))}.",
        )


def examine_static_files(patient: Patient) -> Iterator[Finding]:
    """Have the style sheets and scripts of this very version been collected?"""
    manifest = getattr(staticfiles_storage, "hashed_files", None)
    if manifest is None:
        yield ok("are served as they are (DEBUG)")
        return
    files = {path for finder in get_finders() for path, _ in finder.list([])}
    missing = sorted(path for path in files if path.replace("\\", "/") not in manifest)
    if missing:
        yield problem(
            f"{plural(len(missing), 'file')} not collected, e.g. {missing[0]}: pages fail.",
            "Run manage.py collectstatic --noinput --clear, and start the web server again.",
        )
    else:
        yield ok(f"{plural(len(files), 'file')} collected")


def examine_cache(patient: Patient) -> Iterator[Finding]:
    """Does the shared cache give back what it is given?"""
    key, value = f"doctor-{secrets.token_hex(8)}", secrets.token_hex(8)
    caches["default"].set(key, value, 60)
    answer = caches["default"].get(key)
    caches["default"].delete(key)
    if answer == value:
        yield ok("the shared cache gives back what it is given")
    else:
        yield problem("the shared cache loses what it is given.", "Run manage.py migrate, which makes its table.")


def examine_valkey(patient: Patient) -> Iterator[Finding]:
    """Is the store of the limits' counts there, if one is named?"""
    if not settings.CACHE_URL:
        yield ok("limits are counted in the database")
        return
    try:
        with redis.Redis.from_url(
            settings.CACHE_URL, socket_connect_timeout=VALKEY_SECONDS, socket_timeout=VALKEY_SECONDS
        ) as valkey:
            policy = valkey.config_get("maxmemory-policy").get("maxmemory-policy", "")
    except redis.exceptions.ResponseError:
        policy = ""  # it is there, and does not tell
    except (redis.exceptions.RedisError, ValueError) as error:
        yield problem(
            f"CACHE_URL cannot be used ({type(error).__name__}): the database counts for the limits meanwhile.",
            "Start Valkey, or correct host, port and password in CACHE_URL.",
        )
        return
    yield ok(f"limits are counted in Valkey{f' ({policy})' if policy else ''}")
