"""One model in one process, as a worker has it: loads on the first line of stdin, then times batches when asked.

    python benchmarks/loaded.py < orders       (started by optimise.py)

Lines in: the order to load (wire.Load as JSON), then batch sizes. Lines out: {"seconds", "report"}, then milliseconds
of the model per batch, medians over half a second.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path

import msgspec

from runner import wire
from runner.worker.sample import sample_row
from runner.worker.session import Session

SECONDS = 0.5


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the model prints is no answer
    load = msgspec.json.decode(sys.stdin.readline(), type=wire.Load)
    started = time.perf_counter()
    session = Session(load)
    report = session.load()
    print(json.dumps({"seconds": time.perf_counter() - started, "report": report}), file=answers)
    sample = sample_row(Path(load.model_dir), load.config["warmup"]["input"])
    assert sample is not None, "the archive has no warmup.input"
    for line in sys.stdin:
        print(milliseconds(session, [sample] * int(line)), file=answers)


def milliseconds(session: Session, rows: list[wire.Row]) -> float:
    """Median time of the handler's inference on this batch."""
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < 3 or time.perf_counter() < end:
        started = time.perf_counter()
        seconds = session.answer(rows).seconds
        times.append(seconds.get("inference", time.perf_counter() - started) * 1000)
    return statistics.median(times)


if __name__ == "__main__":
    main()
