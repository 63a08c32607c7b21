"""pt2.background on a real server: requests go on while a worker compiles, and are answered by it afterwards."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.servers import Server, running_server, wait_until_gone, write_model

HANDLER = """
import os
import torch
from runner.handlers import Handler

class Mine(Handler):
    def load_model(self):
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.Linear(64, 8)).eval()
    def preprocess(self, payload):
        return torch.full((64,), float(payload))
    def postprocess(self, output):
        return {"sum": float(output.sum()), "pid": os.getpid()}
"""
CONFIG = """
minWorkers: 1
maxWorkers: 1
batchSize: 2
warmup: {input: sample.json}
pt2:
  background: true
  compile: {enable: true, backend: BACKEND}
  minSpeedup: MINIMUM
  fallback: FALLBACK
"""


def model(
    folder: Path, backend: str = "eager", minimum: str = "0.0001", fallback: str = "eager", handler: str = HANDLER
) -> Path:
    config = CONFIG.replace("BACKEND", backend).replace("MINIMUM", minimum).replace("FALLBACK", fallback)
    return write_model(folder / "m", handler, config=config, sample__json="1")


def row(server: Server) -> dict[str, Any]:
    """What describe says about compilation."""
    steps = server.describe()["applied"]["steps"]
    found: dict[str, Any] = next(step for step in steps if step["name"] == "compile")
    return found


def served_until(server: Server, status: str) -> set[int]:
    """Ask on and on until describe shows the status; the pids that answered. Every answer must be 200."""
    pids = set()
    while True:
        answers = [server.predict(1) for _ in range(5)]
        assert {answer.status_code for answer in answers} == {200}
        pids |= {answer.json()["pid"] for answer in answers}
        if row(server)["status"] == status:
            return pids


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_requests_are_answered_before_during_and_after_the_swap(tmp_path, backend):
    with running_server(model(tmp_path, backend), cache=tmp_path / "cache") as server:
        (eager,) = server.workers()
        assert row(server)["status"] == "meanwhile"
        assert eager in served_until(server, "applied")
        (compiled,) = server.workers()
        assert compiled != eager
        assert served_until(server, "applied") == {compiled}
        assert "archive_optimisation_applied{" in server.client.get("/metrics").text
        assert server.stop() == 0
    assert any("compile       declared" in line and "eager meanwhile (pt2.background)" in line for line in server.log)
    assert any("takes over from" in line for line in server.log)
    assert not any(" error " in line for line in server.log)


@pytest.mark.slow
def test_after_the_swap_a_lost_worker_is_followed_by_a_compiled_one(tmp_path):
    with running_server(model(tmp_path), cache=tmp_path / "cache") as server:
        served_until(server, "applied")
        (compiled,) = server.workers()
        os.kill(compiled, signal.SIGKILL)
        assert server.predict(1).json()["pid"] != compiled
        assert row(server)["status"] == "applied"


@pytest.mark.slow
@pytest.mark.parametrize("fallback", ["eager", "fail"])
def test_a_model_that_does_not_compile_goes_on_eager(tmp_path, fallback):
    with running_server(model(tmp_path, "no_such_backend", fallback=fallback), cache=tmp_path / "cache") as server:
        (eager,) = server.workers()
        assert served_until(server, "fallback") == {eager}
        assert "no compile backend is called `no_such_backend`" in row(server)["reason"]
        assert server.stop() == 0
    assert any("goes on without compilation" in line for line in server.log)
    assert any(" error " in line for line in server.log) == (fallback == "fail")


HANGS = (
    """
import os, time
if os.path.exists("loaded"):
    open("successor", "w").write(str(os.getpid()))
    while True: time.sleep(1)
open("loaded", "w")
"""
    + HANDLER
)


def test_a_server_that_stops_meanwhile_leaves_nothing_behind(tmp_path):
    folder = model(tmp_path, handler=HANGS)
    with running_server(folder, cache=tmp_path / "cache") as server:
        while not ((folder / "successor").exists() and (folder / "successor").read_text()):
            assert server.predict(1).status_code == 200
        assert server.stop() == 0
    wait_until_gone(int((folder / "successor").read_text()))


@pytest.mark.slow
def test_a_compiling_worker_that_is_killed_costs_nothing(tmp_path):
    folder = model(tmp_path, handler=HANGS)
    with running_server(folder, cache=tmp_path / "cache") as server:
        while not ((folder / "successor").exists() and (folder / "successor").read_text()):
            assert server.predict(1).status_code == 200
        os.kill(int((folder / "successor").read_text()), signal.SIGKILL)
        served_until(server, "fallback")
        assert "was ended by SIGKILL while loading" in row(server)["reason"]
