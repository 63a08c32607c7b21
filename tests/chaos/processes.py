"""Processes that die or stop: workers and the template."""

from __future__ import annotations

import os
import signal

from tests.chaos.stage import ECHO, TWO_WORKERS, Scenario, Stage
from tests.e2e.servers import Server

_LEAST = 300


def _kill(pids: list[int], number: int = signal.SIGKILL) -> None:
    for pid in pids:
        os.kill(pid, number)


def one_worker(stage: Stage) -> None:
    with stage.serve() as server, stage.load(server):
        for _ in range(5):
            stage.answers(_LEAST)
            _kill(_both(stage, server)[:1])
        stage.answers(_LEAST)
    stage.only("200")


def all_workers(stage: Stage) -> None:
    with stage.serve() as server, stage.load(server):
        for _ in range(2):
            stage.answers(_LEAST)
            _kill(_both(stage, server))
        stage.answers(_LEAST)
    stage.only("200")


def template(stage: Stage) -> None:
    with stage.serve() as server, stage.load(server):
        stage.answers(_LEAST)
        first = server.template()
        _kill([first])
        stage.answers(_LEAST)
        _kill(_both(stage, server))
        stage.answers(_LEAST)
        stage.expect(server.template() != first, "there is no new template process")
    stage.only("200")


def everything_but_the_front_end(stage: Stage) -> None:
    with stage.serve() as server, stage.load(server):
        stage.answers(_LEAST)
        _kill([server.template(), *_both(stage, server)])
        stage.answers(_LEAST)
    stage.only("200")


def stopped_worker(stage: Stage) -> None:
    with stage.serve(ECHO, config=TWO_WORKERS + "responseTimeout: 1\n") as server, stage.load(server):
        stage.answers(_LEAST)
        victim = _both(stage, server)[0]
        _kill([victim], signal.SIGSTOP)
        stage.until(lambda: victim not in server.workers(), "the end of the stopped worker")
        _both(stage, server)
        stage.answers(_LEAST)
    # What the stopped worker held is tried alone elsewhere; only a row that was alone is given up.
    stage.only("200", "504")
    stage.expect(stage.ledger.statuses["504"] <= 1, "more than the row that was alone was given up")


def stopped_template(stage: Stage) -> None:
    with stage.serve() as server, stage.load(server):
        stage.answers(_LEAST)
        first = server.template()
        _kill([first], signal.SIGSTOP)
        _kill(server.workers())
        stage.answers(_LEAST)
        stage.expect(server.template() != first, "there is no new template process")
    stage.only("200")


def _both(stage: Stage, server: Server) -> list[int]:
    stage.until(lambda: len(server.workers()) == 2, "two READY workers")
    return server.workers()


SCENARIOS = (
    Scenario("kill -9 of one worker, five times", one_worker),
    Scenario("kill -9 of all workers, twice", all_workers),
    Scenario("kill -9 of the template, then of all workers", template),
    Scenario("kill -9 of template and workers at once", everything_but_the_front_end),
    Scenario("SIGSTOP of a worker past responseTimeout", stopped_worker),
    Scenario("SIGSTOP of the template, kill -9 of all workers", stopped_template),
)
