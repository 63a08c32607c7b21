from __future__ import annotations

from runner.pieces import breaks, joined
from runner.wire import Reply


def reply(body: bytes, status: int = 200, kind: str = "text/plain") -> Reply:
    return Reply(status, "", kind, [], body)


def test_pieces_join_in_order_under_the_head_of_the_first() -> None:
    whole = joined([reply(b"a", kind="text/event-stream"), reply(b"b")], reply(b"c", kind=""))
    assert whole == reply(b"abc", kind="text/event-stream")


def test_a_failure_at_the_end_is_the_answer() -> None:
    assert joined([reply(b"a")], reply(b"no", 503)) == reply(b"no", 503)


def test_a_stream_that_began_as_an_error_is_not_broken_by_ending_as_one() -> None:
    assert not breaks(reply(b"a", 404), reply(b"b", 404))
    assert joined([reply(b"a", 404)], reply(b"b", 404)) == reply(b"ab", 404)
