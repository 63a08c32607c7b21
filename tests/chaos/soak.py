"""`python -m tests.chaos.soak`: steady load for $SOAK_MINUTES (10); each minute memory and files of each process.

Exit 1 when an answer is lost or doubled, when one is not 200, or when a process has grown beyond the bounds below
since the first line; what grows before it is caches that fill.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.clients import Clients, Load
from tests.chaos.stage import Stage, descriptors, resident
from tests.e2e.servers import Server

_MEMORY = 8 << 20
_DESCRIPTORS = 8
_CLIENTS = 16
_PAUSE = 0.02
#: A client makes a new connection after so many requests: connections come and go, too.
_EACH = 50
_LONGEST_TEXT = 20_000


@dataclass(frozen=True)
class Sample:
    """One process: bytes in memory, and open descriptors without those of the load's own connections."""

    memory: int
    descriptors: int


def _samples(server: Server) -> dict[str, Sample]:
    pids = {"front end": server.process.pid, "template": server.template()}
    pids |= {f"worker {place}": pid for place, pid in enumerate(server.workers())}
    found = {name: Sample(resident(pid), descriptors(pid)) for name, pid in pids.items()}
    front_end = found["front end"]
    return {**found, "front end": Sample(front_end.memory, front_end.descriptors - _CLIENTS)}


def _text(number: int) -> str:
    """Bodies of all sizes, up to twenty kilobytes."""
    return "x" * (number * 7919 % _LONGEST_TEXT)


def _line(minutes: float, answers: int, samples: dict[str, Sample]) -> str:
    cells = (f"{name} {each.memory / 1e6:.1f} MB {each.descriptors} files" for name, each in samples.items())
    return f"{minutes:5.1f} min  {answers:>8} answers   " + "   ".join(cells)


def _grown(first: dict[str, Sample], last: dict[str, Sample]) -> Iterator[str]:
    """What is beyond the bounds, in words."""
    for name, before in first.items():
        now = last.get(name)
        if now is None:
            yield f"{name} is gone"
        elif now.memory - before.memory > _MEMORY:
            yield f"{name} grew by {(now.memory - before.memory) / 1e6:.1f} MB, more than {_MEMORY / 1e6:.1f}"
        elif now.descriptors - before.descriptors > _DESCRIPTORS:
            yield f"{name} has {now.descriptors - before.descriptors} descriptors more, not at most {_DESCRIPTORS}"


def _soak(stage: Stage, minutes: float) -> list[str]:
    """What is wrong in the end."""
    period = min(1.0, minutes / 5)
    with stage.serve() as server:
        load = Load(stage.clients, server.url, stage.ledger, _CLIENTS, text=_text, pause=_PAUSE, each=_EACH)
        started, samples = time.monotonic(), []
        for number in range(1, round(minutes / period) + 1):
            time.sleep(max(0.0, started + number * period * 60 - time.monotonic()))
            samples.append(_samples(server))
            print(_line(number * period, stage.ledger.answers, samples[-1]), flush=True)
        load.stop()
    stage.ledger.close()
    stage.only("200")
    return [*stage.broken, *_grown(samples[0], samples[-1]), *stage.ledger.stories]


def main() -> int:
    minutes, clients = float(os.environ.get("SOAK_MINUTES", "10")), Clients()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        stage = Stage(Path(folder), clients)
        wrong = _soak(stage, minutes)
    clients.close()
    ledger = stage.ledger
    print(f"{ledger.sent} requests, {ledger.answers} answers, {ledger.lost} lost, {ledger.doubled} doubled")
    print("\n".join(wrong) or "flat")
    return 1 if wrong or ledger.lost or ledger.doubled else 0


if __name__ == "__main__":
    sys.exit(main())
