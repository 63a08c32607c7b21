"""Rows that join and leave a running batch."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

import pytest

from runner import wire
from runner.worker.continuous import serve
from runner.worker.session import LoadError
from tests.runner.worker.sessions import bodies, json_row, opened, raw_row

#: Counts down from each row's number, a piece per step; -1 raises in its first step, -2 later. `calls` tells who was
#: there at each step.
COUNTDOWN = """
class Countdown:
    def initialize(self, context):
        context.cache, self.calls = {}, []
    def handle(self, data, context):
        ids = [context.get_request_id(n) for n in range(len(data))]
        self.calls.append(ids)
        for name, row in zip(ids, data):
            if name not in context.cache:
                if row['body'] == -1: raise ValueError('bad from the start')
                context.cache[name] = row['body']
            elif context.cache[name] == -2: raise ValueError('bad later')
            elif context.cache[name] > 0: context.cache[name] -= 1
        context.stopping_criteria = [self.stops(name, context) for name in ids]
        return [f'{context.cache[name]} ' for name in ids]
    def stops(self, name, context):
        def criterion(answer):
            if context.cache[name] != 0: return False
            del context.cache[name]
            return True
        return criterion
"""


class Steps:
    """A batch under way; what was sent, by the batch's number."""

    def __init__(self, folder: Path, source: str = COUNTDOWN, **config: Any) -> None:
        self.session = opened(folder, source, config={"continuousBatching": True, "batchSize": 4, **config})
        self.sent: list[Any] = []
        self.rows = self.session.continuous(self.sent.append)

    def join(self, batch: int, number: Any, name: str | None = None) -> None:
        self.rows.take(wire.Run(batch, [json_row(number, name or f"id-{batch}")]))

    def until_idle(self) -> None:
        while not self.rows.is_idle:
            self.rows.step()

    def text(self, batch: int) -> str:
        """What the client of that batch got."""
        replies = []
        for frame in self.sent:
            if frame.batch == batch:
                replies += (
                    [piece.reply for piece in frame.pieces] if isinstance(frame, wire.Pieces) else frame.replies
                )
        return b"".join(reply.body for reply in replies).decode()

    @property
    def calls(self) -> list[list[str]]:
        assert self.session._entry is not None
        return self.session._entry.instance.calls


def test_rows_join_between_steps_and_leave_when_their_criterion_says_so(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    steps.join(1, 3)
    steps.rows.step()
    steps.join(2, 1)
    steps.until_idle()
    assert (steps.text(1), steps.text(2)) == ("3 2 1 0 ", "1 0 ")
    assert steps.calls == [["id-1"], ["id-1"], ["id-2"], ["id-1", "id-2"], ["id-1"]]


def test_a_row_that_raises_in_its_first_step_leaves_alone(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    steps.join(1, 2)
    steps.rows.step()
    steps.join(2, -1)
    steps.join(3, 1)
    steps.until_idle()
    assert (steps.text(1), steps.text(3)) == ("2 1 0 ", "1 0 ")
    (raised,) = [frame for frame in steps.sent if isinstance(frame, wire.Raised)]
    assert (raised.batch, raised.kind) == (2, "ValueError")


def test_a_step_of_old_rows_that_raises_fails_them_and_not_who_comes_later(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    steps.join(1, 5)
    steps.join(2, -2)
    steps.rows.step()
    steps.rows.step()
    steps.join(3, 1)
    steps.until_idle()
    assert sorted(frame.batch for frame in steps.sent if isinstance(frame, wire.Raised)) == [1, 2]
    assert steps.text(3) == "1 0 "


def test_a_row_whose_client_has_left_is_taken_out(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    steps.join(1, 1000)
    steps.rows.step()
    steps.rows.take(wire.Leave(1))
    steps.rows.take(wire.Leave(7))
    assert steps.rows.is_idle
    assert isinstance(steps.sent[-1], wire.Ran)


def test_a_second_row_under_the_same_request_id_waits_for_the_first(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    steps.join(1, 1, "same")
    steps.join(2, 1, "same")
    steps.until_idle()
    assert (steps.text(1), steps.text(2)) == ("1 0 ", "1 0 ")
    assert all(len(call) == 1 for call in steps.calls)


def test_a_row_that_waits_for_its_id_can_leave(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    steps.join(1, 1, "same")
    steps.join(2, 1, "same")
    steps.rows.take(wire.Leave(2))
    steps.until_idle()
    assert steps.text(1) == "1 0 "
    assert len(steps.calls) == 2


def test_a_body_that_cannot_be_decoded_never_joins(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    steps.rows.take(wire.Run(1, [raw_row(b"{", "application/json")]))
    assert steps.rows.is_idle
    assert steps.sent[0].replies[0].status == 400


def test_without_criteria_every_answer_is_the_last(tmp_path: Path) -> None:
    steps = Steps(tmp_path, "def handle(data, context): return data and [row['body'] for row in data]")
    steps.join(1, "a")
    steps.join(2, "b")
    steps.rows.step()
    assert (steps.rows.is_idle, steps.text(1), steps.text(2)) == (True, "a", "b")


def test_away_from_a_server_rows_run_to_their_end(tmp_path: Path) -> None:
    session = Steps(tmp_path).session
    assert bodies(session.run([json_row(2), json_row(1)], 1)) == [(200, "2 1 0 "), (200, "1 0 ")]
    raised = session.run([json_row(-1)], 2)
    assert isinstance(raised, wire.Raised)
    assert (raised.kind, raised.trace[-1]) == ("ValueError", "ValueError: bad from the start")


def test_frames_are_taken_between_steps_until_the_front_end_hangs_up(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    frames: queue.Queue[wire.Frame | None] = queue.Queue()

    def send(frame: wire.Frame) -> None:
        steps.sent.append(frame)
        if isinstance(frame, wire.Ran):
            frames.put(None)

    frames.put(wire.Run(1, [json_row(2)]))
    session = steps.session
    serve(session.continuous(send), frames.get)
    assert steps.text(1) == "2 1 0 "


def test_two_ways_of_running_rows_beside_each_other_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="exclude each other"):
        Steps(tmp_path, "async def handle(data, context): return data", asyncCommunication=True)
