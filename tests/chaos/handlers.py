"""Handlers that misbehave while others' requests are under way."""

from __future__ import annotations

from tests.chaos.stage import Scenario, Stage

_LEAST = 500
#: Every tenth request is one of these.
_TENTH = 10

RAISES = """
def handle(data, context):
    rows = [bytes(row["body"]) for row in data or ()]
    if any(b"bad" in row for row in rows):
        raise ValueError("a bad row")
    return rows
"""

LEAKS = """
import resource
LEAKED = []

def handle(data, context):
    if data is None:
        return None
    if not LEAKED:
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (512 << 20), resource.RLIM_INFINITY))
    LEAKED.append(bytearray(24 << 20))
    return [bytes(row["body"]) for row in data]
"""

BABBLES = """
import os, sys

def handle(data, context):
    if data is None:
        return None
    os.write(1, b"\\x00\\xff\\x82 half a frame" + os.urandom(64))
    os.write(2, b"{'no': json}\\n")
    sys.stdout.write("a line that does not end " * 500)
    if b"close" in bytes(data[0]["body"]):
        os.close(1), os.close(2)
        os.dup2(os.open("/dev/null", os.O_WRONLY), 1), os.dup2(1, 2)
    return [bytes(row["body"]) for row in data]
"""

CRASHES = """
import ctypes

def handle(data, context):
    rows = [bytes(row["body"]) for row in data or ()]
    if any(b"poison" in row for row in rows):
        ctypes.string_at(0)
    return rows
"""

ONE_WORKER = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 8\nbatchPolicy: delay\nmaxBatchDelay: 30\n"


def raising(stage: Stage) -> None:
    def text(number: int) -> str:
        return "" if number % _TENTH else "bad"

    with stage.serve(RAISES) as server, stage.load(server, text=text):
        stage.answers(5 * _LEAST)
    guilty = {number: 503 for number in range(_TENTH, stage.ledger.sent + 1, _TENTH)}
    stage.expect(stage.ledger.others == guilty, "not exactly the bad rows got 503")


def leaking(stage: Stage) -> None:
    config = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 4\n"
    with stage.serve(LEAKS, config=config) as server, stage.load(server, 8):
        stage.answers(_LEAST)
        replaced = _restarts(server.client.get("/metrics").text)
    stage.notes.append(f"workers replaced: {replaced}")
    stage.expect(replaced >= 2, "a worker whose memory is used up was not replaced")
    # The row that finds memory used up cannot know whether it asked for too much itself; the next one does.
    stage.only("200", "507")
    stage.expect(stage.ledger.statuses["507"] <= replaced + 1, "more rows failed than workers were replaced")


def babbling(stage: Stage) -> None:
    def text(number: int) -> str:
        return "close" if number == _LEAST else ""

    with stage.serve(BABBLES) as server, stage.load(server, 8, text=text):
        first = server.workers()
        stage.answers(2 * _LEAST)
        stage.expect(server.workers() == first, "a worker was replaced for what it prints")
    stage.only("200")


def crashing(stage: Stage) -> None:
    with stage.serve(CRASHES, config=ONE_WORKER) as server:
        for place in range(3):
            texts = ["poison" if number == place * 3 else "" for number in range(8)]
            replies = stage.together(server, texts)
            found = [reply.status if reply else None for reply in replies]
            expected = [500 if text else 200 for text in texts]
            stage.expect(found == expected, f"expected 500 for the poison alone, got {found}")
        with stage.load(server, 4):
            stage.together(server, ["poison"])
            stage.answers(20)
    stage.expect(stage.ledger.statuses["500"] == 4, "not exactly four poison rows got 500")
    stage.only("200", "500")


def _restarts(metrics: str) -> int:
    lines = [line for line in metrics.splitlines() if line.startswith("archive_worker_restarts_total{")]
    return sum(int(float(line.split()[-1])) for line in lines)


SCENARIOS = (
    Scenario("handler raises on every tenth row", raising),
    Scenario("handler leaks memory to its limit", leaking),
    Scenario("handler corrupts its own stdout", babbling),
    Scenario("handler segfaults on one poison row of eight", crashing),
)
