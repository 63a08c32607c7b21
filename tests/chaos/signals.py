"""Signals to the server itself."""

from __future__ import annotations

import os
import signal
import time

from tests.chaos.stage import ECHO, TWO_WORKERS, Scenario, Stage, open_rows
from tests.e2e.servers import Server

_LEAST = 300
#: Holds its batch for half a second, so that there is something to drain.
SLOW = """
import time

def handle(data, context):
    if data:
        time.sleep(0.5)
    return data and [bytes(row["body"]) for row in data]
"""
STUCK = SLOW.replace("0.5", "600")


def _tell(stage: Stage, server: Server, number: int) -> None:
    """Signal the server; what is sent from here on it may turn away."""
    stage.ledger.ends_at(time.monotonic())
    os.kill(server.process.pid, number)


def _end(stage: Stage, server: Server, within: float) -> None:
    started = time.monotonic()
    code = server.process.wait(40)
    seconds = time.monotonic() - started
    stage.expect(code == 0, f"exit status {code}, not 0")
    stage.expect(seconds < within, f"the end took {seconds:.1f} s, not {within:g}")


def sigterm(stage: Stage) -> None:
    with stage.serve() as server, stage.load(server, 32):
        stage.answers(_LEAST)
        _tell(stage, server, signal.SIGTERM)
        _end(stage, server, 10)
    stage.only("200", "503", "refused")


def sigterm_with_work(stage: Stage) -> None:
    with stage.serve(SLOW) as server, stage.load(server, 32):
        stage.until(lambda: open_rows(server) >= 32, "32 accepted requests")
        _tell(stage, server, signal.SIGTERM)
        _end(stage, server, 20)
    stage.expect(stage.ledger.statuses["200"] >= 32, "an accepted request was not answered 200")
    stage.only("200", "503", "refused")


def ctrl_c_twice(stage: Stage) -> None:
    with stage.serve(STUCK) as server, stage.load(server, 16):
        stage.until(lambda: open_rows(server) == 16, "16 accepted requests")
        _tell(stage, server, signal.SIGINT)
        stage.until(lambda: any("finishing 16 requests" in line for line in server.log), "the first Ctrl-C")
        os.kill(server.process.pid, signal.SIGINT)
        _end(stage, server, 5)
    stage.expect(stage.ledger.statuses["503"] >= 16, "not every accepted request was told that the server stops")
    stage.only("503", "refused")


def sighup(stage: Stage) -> None:
    with stage.serve(ECHO, config=TWO_WORKERS) as server, stage.load(server):
        stage.answers(_LEAST)
        os.kill(server.process.pid, signal.SIGHUP)
        stage.until(lambda: any("SIGHUP" in line for line in server.log), "a line about SIGHUP in the log")
        stage.answers(_LEAST)
        stage.expect(server.process.poll() is None, "the server ended")
    stage.only("200")


SCENARIOS = (
    Scenario("SIGTERM under load", sigterm),
    Scenario("SIGTERM with slow requests under way", sigterm_with_work),
    Scenario("SIGINT twice, handlers stuck", ctrl_c_twice),
    Scenario("SIGHUP under load", sighup),
)
