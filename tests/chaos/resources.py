"""What runs out on the machine: descriptors, disk."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.chaos.stage import ECHO, TWO_WORKERS, Scenario, Stage, descriptors
from tests.e2e.servers import archive_command, environment, write_model

_LEAST = 300
_FILES = 256
_LARGEST_FILE = 64  # blocks of 512 bytes: 32 kB

#: Every line that is logged fails with ENOSPC.
_FULL_LOG = ("sh", "-c", 'exec "$@" 2>/dev/full', "sh")
#: Every file that grows beyond the limit fails with EFBIG: what a full disk looks like to who writes.
_FULL_DISK = ("sh", "-c", f'ulimit -f {_LARGEST_FILE}; exec "$@"', "sh")
_FEW_FILES = ("sh", "-c", f'ulimit -n {_FILES}; exec "$@"', "sh")


def no_descriptors(stage: Stage) -> None:
    with stage.serve(wrapper=_FEW_FILES) as server, stage.load(server):
        stage.answers(_LEAST)
        workers = server.workers()
        crowd = stage.clients.run(_crowd(server.url, 2 * _FILES))
        stage.notes.append(f"{len(crowd)} connections opened, {descriptors(server.process.pid)} of {_FILES} in use")
        stage.answers(_LEAST)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        stage.answers(_LEAST)
        stage.clients.run(_disperse(crowd))
        stage.until(lambda: descriptors(server.process.pid) < _FILES / 2, "the crowd's descriptors to be given back")
        stage.answers(_LEAST)
        stage.expect(len(server.workers()) == 2, "not both workers are back")
    stage.only("200")


async def _crowd(url: str, count: int) -> list[asyncio.StreamWriter]:
    """So many connections that say nothing."""
    host, _, port = url.removeprefix("http://").partition(":")
    return [(await asyncio.open_connection(host, int(port)))[1] for _ in range(count)]


async def _disperse(crowd: list[asyncio.StreamWriter]) -> None:
    for writer in crowd:
        writer.transport.abort()


def full_log(stage: Stage) -> None:
    with stage.serve(wrapper=_FULL_LOG) as server, stage.load(server):
        stage.answers(_LEAST)
        for pid in server.workers():
            os.kill(pid, signal.SIGKILL)
        stage.answers(_LEAST)
        stage.expect(server.client.get("/ping").status_code == 200, "/ping does not answer")
    stage.only("200")


def full_cache_while_serving(stage: Stage) -> None:
    store = stage.folder / "store"
    archive = _large_archive(stage, store)
    with stage.serve(ECHO, "--model-store", str(store), wrapper=_FULL_DISK) as server, stage.load(server):
        stage.answers(_LEAST)
        answer = server.client.post(f"/models?url={archive.name}")
        stage.expect(
            answer.status_code == 500, f"an archive that does not fit was answered {answer.status_code} {answer.text}"
        )
        stage.expect("too large" in answer.text.lower(), f"the answer does not say why: {answer.text}")
        stage.answers(_LEAST)
        left = [path.name for path in (stage.folder / "cache").rglob("*") if path.stat().st_size > 20_000]
        stage.expect(not left, f"half an archive was left in the cache: {left}")
    stage.only("200")


def full_cache_at_the_start(stage: Stage) -> None:
    archive = _large_archive(stage, stage.folder / "store")
    cache = stage.folder / "cache"
    command = [*_FULL_DISK, sys.executable, "-m", "archiver", "serve", str(archive), "--port", "0"]
    ended = subprocess.run(command, env=environment(cache), capture_output=True, text=True, timeout=60)
    stage.expect(ended.returncode == 1, f"exit status {ended.returncode}, not 1")
    stage.expect("error:" in ended.stderr and "Traceback" not in ended.stderr, f"no sentence: {ended.stderr}")
    stage.notes.append(ended.stderr.strip().splitlines()[-1][:110] if ended.stderr else "it said nothing")
    with stage.serve_archive(archive) as server, stage.load(server):
        stage.answers(_LEAST)
    stage.only("200")


def _large_archive(stage: Stage, store: Path) -> Path:
    """An archive of model `m` 2.0 with a file that is larger than the limit."""
    source = write_model(stage.folder / "large", ECHO, version="2.0", config=TWO_WORKERS, weights__bin=bytes(1 << 20))
    store.mkdir(exist_ok=True)
    arguments = ("create", "--model-name", "m", "--version", "2.0", "--handler", str(source / "handler.py"))
    files = ("--extra-files", str(source / "weights.bin"), "--config-file", str(source / "model-config.yaml"))
    made = archive_command(*arguments, *files, "--export-path", str(store))
    assert made.returncode == 0, made.stderr
    return store / "m.mar"


SCENARIOS = (
    Scenario("file descriptors exhausted", no_descriptors),
    Scenario("disk full in the log", full_log),
    Scenario("disk full in the cache while serving", full_cache_while_serving),
    Scenario("disk full in the cache at the start", full_cache_at_the_start),
)
