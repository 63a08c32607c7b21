"""The process that sends: `python -m runner.bench.generator`, rounds on stdin, what became of them on stdout."""

from __future__ import annotations

import math
import os
import resource
import signal
import sys
import time
from typing import IO

import msgspec

from runner.bench import messages
from runner.bench.drive import Drive, Window
from runner.bench.messages import Began, Ended, Round
from runner.bench.pace import Closed, Open, Pace
from runner.bench.schedule import poisson
from runner.bench.sockets import Sockets, Wire

#: Descriptors to ask for where the system sets no limit.
_CONNECTIONS = 1 << 16


def main() -> None:
    # Ctrl-C is for who started us: it decides what is kept.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _allow_many_connections()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while (body := messages.read(sys.stdin.buffer)) is not None:
        messages.write(answers, run(msgspec.msgpack.decode(body, type=Round), answers))


def run(order: Round, answers: IO[bytes]) -> Ended:
    """Drive one round; tell when its measured part begins."""
    wires = Sockets((order.host, order.port), order.requests, order.connections)
    busy = 0.0

    def began() -> None:
        nonlocal busy
        busy = time.process_time()
        messages.write(answers, Began())

    start = time.perf_counter()
    begin = start + order.warmup
    window = Window(begin, begin + order.duration if order.count is None else math.inf, order.timeout)
    drive = Drive(_pace(order, start, window), wires, time.perf_counter, window, began)
    try:
        drive.run()
    finally:
        wires.close()
    return _ended(drive, order, window, time.process_time() - busy)


def _pace(order: Round, start: float, window: Window) -> Pace:
    if order.rate is None:
        return Closed(window.begin, window.end, order.count)
    return Open((start + poisson(order.rate, order.warmup + order.duration, order.seed)).tolist())


def _ended(drive: Drive[Wire], order: Round, window: Window, busy: float) -> Ended:
    ledger = drive.ledger
    last = max(ledger.done, default=window.begin)
    cut_short = order.count is not None or drive.stopped is not None
    return Ended(
        intended=ledger.intended.tobytes(),
        sent=ledger.sent.tobytes(),
        done=ledger.done.tobytes(),
        outcomes=ledger.outcomes.tobytes(),
        begin=window.begin,
        end=min(last, window.end) if cut_short else window.end,
        busy=busy,
        stopped=drive.stopped,
    )


def _allow_many_connections() -> None:
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = _CONNECTIONS if allowed == resource.RLIM_INFINITY else allowed
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, allowed))


if __name__ == "__main__":
    main()
