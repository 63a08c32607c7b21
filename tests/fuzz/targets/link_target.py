"""A worker that says whatever it likes: it is believed or ended, and every request has one answer in the end.

Each byte is something that the worker says, the next one how; after an `R` the rest is raw bytes.
"""

from __future__ import annotations

from runner import wire
from tests.fuzz.targets.loop import Kept
from tests.runner.pool.workers import Worker, make_model, make_row
from tests.runner.scheduling.clients import Recorder

_LOOP = Kept()
_JOBS = 5


def one(data: bytes) -> None:
    _LOOP.run(lambda: _converse(data))


def _converse(data: bytes) -> None:
    model = make_model(batchSize=3, jobQueueSize=_JOBS)
    worker = Worker(model)
    clients = [Recorder() for _ in range(_JOBS)]
    for client in clients:
        model.submit(make_row(), client)
    for place in range(0, len(data) - 1, 2):
        if worker.kills:
            break
        if data[place] == ord("R"):
            worker.link.data_received(data[place + 1 :])
            break
        worker.say(_frame(data[place], data[place + 1]))
    model.stop()
    assert all(len(client.answers) == 1 for client in clients), "one answer for each request"


def _frame(kind: int, how: int) -> wire.Frame:
    """`how`: in its upper half the number of a batch, in its lower half a place or a count."""
    batch, number = how >> 4, how & 15
    reply = wire.Reply(200, "", "text/plain", [("a", "b")], b"x" * number)
    frames: tuple[wire.Frame, ...] = (
        wire.Ran(
            batch, [reply] * number, {"handle": 0.1}, [wire.Metric("m", 1.0, "ms", "gauge", {})] * (number // 8)
        ),
        wire.Pieces(batch, [wire.Piece(number - 2, reply, last=bool(number % 2))]),
        wire.Raised(batch, 100 * number, "Kind", "message", [], retire=number > 13),
        wire.Loaded(0.1, {}, number),
        wire.LoadFailed("Kind", "message", []),
        wire.Leave(batch),
        wire.Run(batch, []),
    )
    return frames[kind % len(frames)]
