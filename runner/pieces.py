"""An answer that comes in pieces: when it is whole, when it is broken. Pure; for front end and worker alike."""

from __future__ import annotations

from collections.abc import Sequence

from runner.wire import Reply


def breaks(head: Reply, last: Reply) -> bool:
    """Whether `last` says that a stream which began with `head` failed on the way."""
    return last.status >= 400 > head.status


def joined(pieces: Sequence[Reply], last: Reply) -> Reply:
    """The pieces, and `last` behind them, as one answer: status and headers of the first. A failure is the answer."""
    head = pieces[0]
    if breaks(head, last):
        return last
    body = b"".join([*(piece.body for piece in pieces), last.body])
    return Reply(head.status, head.phrase, head.content_type, head.headers, body)
