"""What leaves a running batch before its answers: pieces that the handler sends, and generators among its answers.

Rules of the room
1. Any thread of the handler may send; when the batch has been answered nothing leaves any more.
2. Generators take turns, and a row whose generator ends is answered at once: rows do not wait for each other.
3. Only bytes leave for a front end. Without one (warm-up, `archive run`) the pieces wait and are joined.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from types import GeneratorType
from typing import Any

from runner import wire
from runner.handlers.context import Context
from runner.handlers.errors import answer_to, out_of_resources
from runner.handlers.streaming import StreamOver
from runner.pieces import joined
from runner.worker import rows

_log = logging.getLogger("archive.handler")

#: Generated objects are sent as lines, so that a client can tell them apart.
LINES_TYPE = "application/x-ndjson"

Deliver = Callable[[list[wire.Piece]], None]


class Pieces:
    """The outlet of one batch. `places`: row number → place in the batch that the front end knows."""

    def __init__(self, context: Context, places: Sequence[int], deliver: Deliver) -> None:
        self._context = context
        self._places = places
        self._deliver = deliver
        self._lock = threading.Lock()
        self._open = True

    def send(self, values: Mapping[int, Any]) -> None:
        """See `runner.handlers.streaming.Outlet`."""
        self.leave([(number, self.encoded(number, value)) for number, value in values.items()])

    def encoded(self, number: int, value: Any) -> wire.Reply:
        """The value as a reply to that row, as the handler wishes by now."""
        processors = self._context.touched
        return rows.encode(value, None if processors is None else processors[number])

    def leave(self, replies: Sequence[tuple[int, wire.Reply]], *, last: bool = False) -> None:
        """Hand the replies over, by row number."""
        pieces = [wire.Piece(self._places[number], reply, last) for number, reply in replies]
        with self._lock:
            if not self._open:
                raise StreamOver
            self._deliver(pieces)

    def close(self) -> None:
        """The batch is over."""
        with self._lock:
            self._open = False


class Collected:
    """Takes pieces where no front end listens."""

    def __init__(self) -> None:
        self._kept: dict[int, list[wire.Reply]] = {}
        self._ended: dict[int, wire.Reply] = {}

    def take(self, pieces: list[wire.Piece]) -> None:
        """A `Deliver`."""
        for piece in pieces:
            if piece.last:
                self._ended[piece.place] = piece.reply
            else:
                self._kept.setdefault(piece.place, []).append(piece.reply)

    def whole(self, replies: list[wire.Reply]) -> list[wire.Reply]:
        """The batch's replies, each with the pieces that came before it."""
        lasts = [self._ended.get(place, reply) for place, reply in enumerate(replies)]
        return [joined(self._kept[n], last) if n in self._kept else last for n, last in enumerate(lasts)]


def played_out(answers: Sequence[Any], pieces: Pieces) -> Sequence[Any]:
    """Run every generator among the answers to its end, a piece of each in turn. Its row is answered then: what
    stands in its place is not sent. Raises what makes the process useless; else a row's failure is its own."""
    live = {number: value for number, value in enumerate(answers) if isinstance(value, GeneratorType)}
    if not live:
        return answers
    ended = [b"" if number in live else answer for number, answer in enumerate(answers)]
    while live:
        for number, generator in list(live.items()):
            reply, last = _next(generator, number, pieces)
            pieces.leave([(number, reply)], last=last)
            if last:
                del live[number]
    return ended


def _next(generator: GeneratorType[Any, None, Any], number: int, pieces: Pieces) -> tuple[wire.Reply, bool]:
    """The generator's next piece, and whether it is the last."""
    try:
        value, last = next(generator), False
    except StopIteration as end:
        value, last = (b"" if end.value is None else end.value), True
    except Exception as error:  # user code may raise anything; the neighbours' streams do not depend on it
        if out_of_resources(error):
            raise
        _log.exception("a stream broke off")
        return rows.problem(answer_to(error)), True
    return _as_line(pieces.encoded(number, value)), last


def _as_line(reply: wire.Reply) -> wire.Reply:
    if reply.content_type != rows.JSON_TYPE or reply.status >= 400:
        return reply
    return wire.Reply(reply.status, reply.phrase, LINES_TYPE, reply.headers, reply.body + b"\n")
