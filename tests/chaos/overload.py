"""More than the server can do."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.chaos.clients import Load, connect
from tests.chaos.ledger import Ledger
from tests.chaos.stage import Scenario, Stage, resident
from tests.e2e.servers import Server

#: A batch of up to four takes 10 ms: 400 rows per second is all that one worker can do.
PACED = """
import time

def handle(data, context):
    if data:
        time.sleep(0.01)
    return data and [bytes(row["body"]) for row in data]
"""
_CONFIG = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 4\njobQueueSize: 40\n"
_CLIENTS = 8
_TIMES = 20
_SECONDS = 4.0
_GROWTH = 32 << 20
_BODIES, _LARGEST = 200, 2_000_000
#: 40 waiting and 8 under way at 400 per second take 0.12 s; the rest is for a busy machine.
_DEADLINE = 1.0


def burst(stage: Stage) -> None:
    with stage.serve(PACED, config=_CONFIG) as server:
        unloaded = _rate(stage, server, _CLIENTS, Ledger())
        before = resident(server.process.pid)
        # A client that is refused comes again at once, long before Retry-After.
        loaded = _rate(stage, server, _CLIENTS * _TIMES, stage.ledger, pause=0.02)
        grown = resident(server.process.pid) - before
        sample = server.predict(b"1")
        stage.expect(sample.status_code == 200, "the server does not answer after the burst")
    stage.notes.append(
        f"200 per second: {unloaded:.0f} unloaded, {loaded:.0f} at {_TIMES} times as many clients; front end "
        f"grew by {grown / 1e6:.1f} MB"
    )
    stage.only("200", "503")
    stage.expect(stage.ledger.statuses["503"], "nobody was turned away: this was no burst")
    stage.expect(loaded >= 0.9 * unloaded, "throughput of accepted requests fell below 0.9 of the unloaded")
    stage.expect(stage.ledger.p99() < _DEADLINE, f"p99 {stage.ledger.p99():.2f} s: accepted ones were late")
    stage.expect(stage.ledger.without_retry_after == 0, "a 503 without Retry-After")
    stage.expect(grown < _GROWTH, f"the front end grew by {grown / 1e6:.0f} MB")


def _rate(stage: Stage, server: Server, clients: int, ledger: Ledger, pause: float = 0.0) -> float:
    """Answers 200 per second of so many clients, after they have all come."""
    load = Load(stage.clients, server.url, ledger, clients, pause=pause)
    stage.until(lambda: ledger.answers > clients, "every client's first answer")
    first, started = ledger.statuses["200"], time.monotonic()
    stage.until(lambda: time.monotonic() - started >= _SECONDS, "the end of the measurement")
    rate = (ledger.statuses["200"] - first) / (time.monotonic() - started)
    load.stop()
    return rate


def large_bodies(stage: Stage) -> None:
    held = 16 * _LARGEST
    with stage.serve(PACED, "--max-request-size", str(_LARGEST), config=_CONFIG) as server:
        before = resident(server.process.pid)
        stage.clients.run(_post_large(stage, server))
        peak = _peak(server) - before
        stage.until(
            lambda: resident(server.process.pid) - before < _GROWTH, "the memory of the bodies to be given back"
        )
    stage.notes.append(f"{_BODIES * _LARGEST / 1e6:.0f} MB of bodies at once, front end grew by {peak / 1e6:.0f} MB")
    stage.only("200", "503")
    stage.expect(stage.ledger.statuses["200"] >= 16, "not even the bodies that fit were answered")
    stage.expect(stage.ledger.statuses["503"], "nobody was turned away: this was no burst")
    stage.expect(stage.ledger.without_retry_after == 0, "a 503 without Retry-After")
    # A body that leaves for its worker is there twice: in its request, and in the frame.
    stage.expect(peak < 3 * held, f"the front end grew by {peak / 1e6:.0f} MB")


async def _post_large(stage: Stage, server: Server) -> None:
    connections = [await connect(server.url, stage.ledger) for _ in range(_BODIES)]
    await asyncio.gather(*(connection.answer_to("x" * (_LARGEST - 10)) for connection in connections))
    for connection in connections:
        connection.hang_up()


def _peak(server: Server) -> int:
    """Most bytes that the front end ever had in memory."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


SCENARIOS = (
    Scenario("burst of 20 × capacity", burst),
    Scenario("200 large bodies at once", large_bodies),
)
