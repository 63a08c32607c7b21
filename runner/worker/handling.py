"""One batch on its way through a handler: rows decoded, the handler's result checked, played out, encoded.

Why apart from the session? A session may have several batches under way when the handler is asynchronous; each has
a context and an outlet of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import Any

from runner import wire
from runner.handlers import gradients
from runner.handlers.context import Context, Headers
from runner.handlers.errors import BadRequest, RowFailed, answer_to
from runner.worker import rows
from runner.worker.loader import Handle
from runner.worker.pieces import Deliver, Pieces, played_out, streamed_out

#: Headers by which TorchServe's front end tells a handler what is asked.
_EXPLAIN, _DESCRIBE = b"explain", b"describe"


class WrongResult(Exception):
    """`handle` returned something that is not one answer per row."""


class Handling:
    """The batch of `batch_rows`. Rows whose body cannot be decoded are answered 400 and not given to the handler.

    `replies` are there when `run` or `run_async` has returned. Both raise WrongResult, and what user code raises.
    """

    def __init__(self, context: Context, batch_rows: Sequence[wire.Row], deliver: Deliver) -> None:
        self._data, self._places, self._refused = _decoded(batch_rows)
        self._rows = batch_rows
        self._context = context
        self._pieces = Pieces(context, self._places, deliver)
        self.replies: list[wire.Reply] = []

    def run(self, handle: Handle, settled: Callable[[Any], Any]) -> None:
        """Have the batch handled on this thread; `settled` waits for what is asynchronous."""
        started = self._begin()
        if self._data:
            try:
                with self._gradients():
                    result = handle(self._data, self._context)
                    if inspect.isawaitable(result):
                        result = settled(self._awaited(result))
                    result = played_out(self._checked(result), self._pieces)
            finally:
                self._pieces.close()
            self._end(result, started)
        self._insert_refused()

    async def run_async(self, handle: Handle) -> None:
        """Have the batch handled beside others, on the running loop."""
        started = self._begin()
        if self._data:
            try:
                with self._gradients():
                    result = await self._awaited(handle(self._data, self._context))
                    result = played_out(result, self._pieces)
            finally:
                self._pieces.close()
            self._end(result, started)
        self._insert_refused()

    def _gradients(self) -> AbstractContextManager[None]:
        """Rows that ask for something else are in another batch, see `by_question`."""
        return gradients.needed() if _asks(self._rows[0], _EXPLAIN) else nullcontext()

    def _begin(self) -> float:
        self._context.begin([self._rows[place] for place in self._places], self._pieces)
        return perf_counter()

    async def _awaited(self, result: Any) -> Sequence[Any]:
        return await streamed_out(self._checked(await result), self._pieces)

    def _checked(self, result: Any) -> Sequence[Any]:
        return checked(result, len(self._data))

    def _end(self, result: Sequence[Any], started: float) -> None:
        self._context.seconds["handle"] = perf_counter() - started
        processors = self._context.touched
        if processors is None:
            self.replies = [rows.encode(value, None) for value in result]
        else:
            pairs = zip(result, processors, strict=True)
            self.replies = [rows.encode(value, processor) for value, processor in pairs]

    def _insert_refused(self) -> None:
        for place, failure in self._refused:
            self.replies.insert(place, rows.problem(failure))


def checked(result: Any, expected: int) -> Sequence[Any]:
    """What `handle` returned. Raises WrongResult unless it is one answer per row."""
    if not isinstance(result, list | tuple):
        kind = type(result).__name__
        raise WrongResult("Invalid model predict output", f"handle() returned a {kind}, not a list")
    if len(result) != expected:
        raise WrongResult(
            "number of batch response mismatched", f"handle() returned {len(result)} answers to {expected} rows"
        )
    return result


def by_question(batch_rows: Sequence[wire.Row]) -> Sequence[Sequence[int]]:
    """The places of rows that ask for the same: predictions, explanations, a description.

    A handler reads what its batch is about from the first row (TorchServe's BaseHandler does), so they are handled
    apart; each explanation alone, for `get_insights` takes one input and one target.
    """
    for row in batch_rows:  # plain, because it is asked of every batch
        if _EXPLAIN in row.headers or _DESCRIBE in row.headers:
            break
    else:
        return [range(len(batch_rows))]
    parts: dict[tuple[int | None, bool], list[int]] = {}
    for place, row in enumerate(batch_rows):
        explains, describes = (_asks(row, question) for question in (_EXPLAIN, _DESCRIBE))
        parts.setdefault((place if explains else None, describes), []).append(place)
    return [*parts.values()]


def _asks(row: wire.Row, question: bytes) -> bool:
    # The headers are unpacked only where the word is in them, for it is asked of every batch.
    return question in row.headers and Headers(wire.unpack_headers(row.headers)).get(question.decode()) == "True"


def _decoded(
    batch_rows: Sequence[wire.Row],
) -> tuple[list[dict[str, Any]], Sequence[int], list[tuple[int, RowFailed]]]:
    """Data rows, the places they came from, and (place, answer) of each row that cannot be decoded."""
    data: list[dict[str, Any]] = []
    refused: list[tuple[int, RowFailed]] = []
    for place, row in enumerate(batch_rows):
        try:
            data.append(rows.decode(row))
        except BadRequest as error:
            refused.append((place, answer_to(error)))
    if not refused:
        return data, range(len(batch_rows)), refused
    without = {place for place, _ in refused}
    return data, [place for place in range(len(batch_rows)) if place not in without], refused
