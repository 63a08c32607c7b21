from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from runner import wire
from runner.worker.beside import Beside
from runner.worker.session import LoadError, Session
from tests.runner.worker.sessions import bodies, json_row, make_session, opened

ECHO = """
class Echo:
    async def initialize(self, context):
        self.ready = True
    async def handle(self, data, context):
        return [[row['body'], self.ready] for row in data]
"""
GENERATOR = """
import asyncio
async def count(n):
    for i in range(n):
        await asyncio.sleep(0)
        if i == 3: raise ValueError('three')
        yield f'{i} '
async def handle(data, context): return data and [count(row['body']) for row in data]
"""
BESIDE = """
import asyncio
gates = {}
async def handle(data, context):
    if data is None: return None
    name = data[0]['body']
    gate = gates.setdefault(name.lower(), asyncio.Event())
    if name.isupper(): gate.set()
    await gate.wait()
    if name == 'cancels': asyncio.current_task().cancel(); await asyncio.sleep(0)
    return [f'{name} {context.get_request_id(0)}']
"""


@contextmanager
def session_of(folder: Path, source: str, **config: Any) -> Iterator[Session]:
    session = opened(folder, source, config=config)
    try:
        yield session
    finally:
        session.close()


def test_an_async_handler_is_awaited(tmp_path: Path) -> None:
    with session_of(tmp_path, ECHO) as session:
        assert bodies(session.run([json_row(1), json_row(2)], 1)) == [(200, [1, True]), (200, [2, True])]


def test_asynchronous_generators_stream_and_fail_alone(tmp_path: Path) -> None:
    sent: list[wire.Pieces] = []
    with session_of(tmp_path, GENERATOR) as session:
        session.run([json_row(4), json_row(1)], 1, sent.append)
        whole = session.run([json_row(2)], 2)
    lasts = {p.place: p.reply.status for frame in sent for p in frame.pieces if p.last}
    assert lasts == {0: 503, 1: 200}
    assert bodies(whole) == [(200, "0 1 ")]


def served(session: Session, *names: str) -> dict[int, Any]:
    """Batch number → answer, of batches of one row that are all under way at once."""
    frames: queue.Queue[wire.Frame | None] = queue.Queue()
    answers: dict[int, Any] = {}

    def send(frame: wire.Frame) -> None:
        assert isinstance(frame, wire.Ran | wire.Raised)
        answers[frame.batch] = frame
        if len(answers) == len(names):
            frames.put(None)

    for number, name in enumerate(names):
        frames.put(wire.Run(number, [json_row(name, f"id-{number}")]))
    Beside(session, frames.get, send).serve()
    return answers


def test_batches_run_beside_each_other_with_a_context_of_their_own(tmp_path: Path) -> None:
    with session_of(tmp_path, BESIDE, asyncCommunication=True) as session:
        answers = served(session, "a", "b", "B", "A")
    assert list(answers)[-1] in (0, 3)
    assert [bodies(answers[n]) for n in range(4)] == [
        [(200, "a id-0")],
        [(200, "b id-1")],
        [(200, "B id-2")],
        [(200, "A id-3")],
    ]


def test_a_handler_that_is_cancelled_fails_its_own_batch(tmp_path: Path) -> None:
    source = BESIDE.replace("await gate.wait()", "pass")
    with session_of(tmp_path, source, asyncCommunication=True) as session:
        answers = served(session, "cancels", "B")
    assert isinstance(answers[0], wire.Raised)
    assert bodies(answers[1]) == [(200, "B id-1")]


def test_what_keeps_an_answer_from_being_sent_ends_the_worker(tmp_path: Path) -> None:
    frames: queue.Queue[wire.Frame | None] = queue.Queue()
    frames.put(wire.Run(1, [json_row("A")]))

    def send(frame: wire.Frame) -> None:
        raise wire.WireError("too large")

    with (
        session_of(tmp_path, BESIDE, asyncCommunication=True) as session,
        pytest.raises(wire.WireError, match="too large"),
    ):
        Beside(session, frames.get, send).serve()


def test_async_communication_refuses_a_plain_handler(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="asyncCommunication needs an asynchronous handler"):
        opened(tmp_path, config={"asyncCommunication": True})


def test_an_envelope_cannot_stand_before_an_async_handler(tmp_path: Path) -> None:
    session = make_session(tmp_path, "async def handle(data, context): return data", envelope="json")
    with closing(session), pytest.raises(LoadError, match="the envelope json cannot stand before"):
        session.open()
