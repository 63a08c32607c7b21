"""Continuous batching: rows join and leave the running batch between the steps of a generative model.

TorchServe's contract: the handler is called again and again with the rows under way, the first time with a row's
data, then with an empty one; it keeps its state by request id. After each call `context.stopping_criteria[n]`, called
with row n's answer, says False when more follows; then that answer is a piece of a stream. Different here:
- a row's first step is its own: one that raises leaves alone. It cannot be found out in company, because a handler
  that has raised halfway has moved the others on, and to call it again for them would skip a step of theirs;
- a client that leaves takes its row out;
- a row waits while another one under the same request id is under way, for handlers keep state by it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from runner import wire
from runner.handlers.context import Context
from runner.handlers.errors import BadRequest, answer_to
from runner.worker import failures, rows
from runner.worker.handling import checked
from runner.worker.loader import Handle

_LEFT = wire.Reply(499, "", "", [], b"")


@dataclass(eq=False)
class _Seat:
    """A row under way, the only one of its batch on the wire. `begun`: it has been through a step."""

    batch: int
    row: wire.Row
    data: dict[str, Any]
    begun: bool = False


class Continuous:
    """The rows under way. `failed` makes the frame for a batch that raised; `settled` waits for what is
    asynchronous."""

    def __init__(
        self,
        handle: Handle,
        context: Context,
        settled: Callable[[Any], Any],
        failed: Callable[[int, BaseException], wire.Raised],
        send: Callable[[wire.Frame], None],
    ) -> None:
        self._handle = handle
        self._context = context
        self._settled = settled
        self._failed = failed
        self._send = send
        self._seats: dict[int, _Seat] = {}
        self._waiting: list[_Seat] = []

    @property
    def is_idle(self) -> bool:
        return not self._seats and not self._waiting

    def take(self, frame: wire.Frame) -> None:
        """A row comes, or leaves."""
        if isinstance(frame, wire.Run):
            self._join(frame.batch, frame.rows[0])
        elif isinstance(frame, wire.Leave):
            seat = self._seats.pop(frame.batch, None)
            here = [each for each in self._waiting if each.batch == frame.batch]
            self._waiting = [each for each in self._waiting if each not in here]
            if seat is not None or here:
                self._send(wire.Ran(frame.batch, [_LEFT], {}))

    def _join(self, batch: int, row: wire.Row) -> None:
        try:
            self._waiting.append(_Seat(batch, row, rows.decode(row)))
        except BadRequest as error:
            self._send(wire.Ran(batch, [rows.problem(answer_to(error))], {}))

    def step(self) -> None:
        """Who has just come takes the first step, each alone; then all take one together."""
        self._seat_waiting()
        for seat in [seat for seat in self._seats.values() if not seat.begun]:
            self._try([seat])
        self._try([*self._seats.values()])

    def _seat_waiting(self) -> None:
        busy = {seat.row.id for seat in self._seats.values()}
        still: list[_Seat] = []
        for seat in self._waiting:
            if seat.row.id in busy:
                still.append(seat)
            else:
                busy.add(seat.row.id)
                self._seats[seat.batch] = seat
        self._waiting = still

    def _try(self, seats: Sequence[_Seat]) -> None:
        try:
            if seats:
                self._run(seats)
        except failures.BATCH_FAILURES as error:
            self._fail(seats, error)

    def _fail(self, seats: Sequence[_Seat], error: BaseException) -> None:
        for seat in seats:
            del self._seats[seat.batch]
            self._send(self._failed(seat.batch, error))

    def _run(self, seats: Sequence[_Seat]) -> None:
        context = self._context
        context.begin([seat.row for seat in seats])
        context.stopping_criteria = None
        started = perf_counter()
        answers = checked(
            self._settled(self._handle([{} if s.begun else s.data for s in seats], context)), len(seats)
        )
        seconds = {**context.seconds, "handle": perf_counter() - started}
        criteria, processors = context.stopping_criteria, context.touched
        # All of them before any is sent: a step that raises has sent nothing.
        more = [criteria is not None and criteria[n](answer) is False for n, answer in enumerate(answers)]
        wishes = [None] * len(seats) if processors is None else processors
        replies = [rows.encode(answer, wish) for answer, wish in zip(answers, wishes, strict=True)]
        for seat, reply, goes_on in zip(seats, replies, more, strict=True):
            seat.begun = True
            if goes_on:
                self._send(wire.Pieces(seat.batch, [wire.Piece(0, reply)]))
            else:
                del self._seats[seat.batch]
                self._send(wire.Ran(seat.batch, [reply], seconds, context.metrics.drain()))


def serve(rows_under_way: Continuous, receive: Callable[[], wire.Frame | None]) -> None:
    """Until the front end hangs up."""
    frames: queue.SimpleQueue[wire.Frame | None] = queue.SimpleQueue()

    def receive_all() -> None:
        frame: wire.Frame | None = None
        try:
            while (frame := receive()) is not None:
                frames.put(frame)
        finally:
            frames.put(None)

    threading.Thread(target=receive_all, daemon=True, name="receiver").start()
    while True:
        while rows_under_way.is_idle or not frames.empty():
            frame = frames.get()
            if frame is None:
                return
            rows_under_way.take(frame)
        rows_under_way.step()
