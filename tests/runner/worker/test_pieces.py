from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner import wire
from runner.handlers.streaming import StreamOver
from runner.worker.session import Session
from tests.runner.worker.sessions import bodies, json_row, opened, raw_row

SEND = "from runner.handlers.streaming import send_intermediate_predict_response as send\n"
GENERATOR = """
def count(n):
    for i in range(n):
        if i == 3: raise ValueError('three')
        yield f'{i} '
    return 'end'
def handle(data, context): return data and [count(row['body']) for row in data]
"""


def streamed(session: Session, batch: list[wire.Row]) -> tuple[list[tuple[int, bytes, bool]], Any]:
    """(place, body, last) of each piece in the order they left, and what came after them."""
    sent: list[wire.Pieces] = []
    ran = session.run(batch, 1, sent.append)
    return [(piece.place, piece.reply.body, piece.last) for frame in sent for piece in frame.pieces], ran


def test_generators_take_turns_and_end_their_rows_by_themselves(tmp_path: Path) -> None:
    pieces, _ = streamed(opened(tmp_path, GENERATOR), [json_row(2), json_row(1)])
    assert pieces == [
        (0, b"0 ", False),
        (1, b"0 ", False),
        (0, b"1 ", False),
        (1, b"end", True),
        (0, b"end", True),
    ]


def test_a_generator_that_raises_fails_alone(tmp_path: Path) -> None:
    pieces, ran = streamed(opened(tmp_path, GENERATOR), [json_row(4), json_row(1)])
    assert isinstance(ran, wire.Ran)
    assert [(place, last) for place, _, last in pieces if last] == [(1, True), (0, True)]
    assert b"Prediction failed" in pieces[-1][1]


def test_places_count_rows_that_never_reached_the_handler(tmp_path: Path) -> None:
    pieces, ran = streamed(opened(tmp_path, GENERATOR), [raw_row(b"{", "application/json"), json_row(0)])
    assert pieces == [(1, b"end", True)]
    assert [reply.status for reply in ran.replies] == [400, 200]


def test_without_a_front_end_answers_come_whole(tmp_path: Path) -> None:
    session = opened(tmp_path, GENERATOR)
    assert bodies(session.run([json_row(2), json_row(0)], 1)) == [(200, "0 1 end"), (200, "end")]


def test_intermediate_responses_carry_the_headers_that_are_set_by_then(tmp_path: Path) -> None:
    source = """
def handle(data, context):
    if data is None: return None
    context.set_response_content_type(0, 'text/event-stream')
    send(['data: 1\\n\\n'], context.request_ids, 'ok', 200, context)
    return ['data: 2\\n\\n']
"""
    sent: list[wire.Pieces] = []
    opened(tmp_path, SEND + source).run([json_row(0)], 1, sent.append)
    assert [piece.reply.content_type for frame in sent for piece in frame.pieces] == ["text/event-stream"]


def test_an_intermediate_response_goes_to_the_request_that_the_map_names(tmp_path: Path) -> None:
    source = """
def handle(data, context):
    if data is None: return None
    send(['for b'], {0: 'b'}, 'ok', 200, context)
    return ['', '']
"""
    session = opened(tmp_path, SEND + source)
    pieces, _ = streamed(session, [json_row(0, "a"), json_row(0, "b")])
    assert pieces == [(1, b"for b", False)]
    assert isinstance(session.run([json_row(0, "x"), json_row(0, "y")], 2), wire.Raised)


def test_a_piece_after_the_batch_is_refused_where_it_is_sent(tmp_path: Path) -> None:
    source = """
kept = {}
def handle(data, context):
    if data is None: return None
    context.kept = context.outlet
    return data
"""
    session = opened(tmp_path, SEND + source)
    session.run([json_row(0)], 1, lambda _: None)
    with pytest.raises(StreamOver):
        session._context.kept.send({0: "late"})


def test_a_code_other_than_200_is_the_answer_to_the_batch(tmp_path: Path) -> None:
    source = "def handle(data, context): return data and send([''], context.request_ids, 'no', 418, context)"
    raised = opened(tmp_path, SEND + source).run([json_row(0)], 1)
    assert isinstance(raised, wire.Raised)
    assert (raised.status, raised.message) == (418, "no")


def test_the_other_processes_of_a_group_send_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
def handle(data, context):
    if data is None: return None
    send(['piece'], context.request_ids, 'ok', 200, context)
    return ['last']
"""
    session = opened(tmp_path, SEND + source)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert bodies(session.run([json_row(0)], 1)) == [(200, "last")]


def test_ts_names_lead_to_the_same_function(tmp_path: Path) -> None:
    source = """
from ts.handler_utils.utils import send_intermediate_predict_response as one
from ts.protocol.otf_message_handler import send_intermediate_predict_response as other
def handle(data, context): return data and [one is other is send]
"""
    assert bodies(opened(tmp_path, SEND + source).run([json_row(0)], 1)) == [(200, True)]
