from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import wire

ROW = wire.Row("id-1", [("body", "application/json", b"[1]")], wire.pack_headers([(b"host", b"x")]))
FRAMES: list[wire.Frame] = [
    wire.Run(7, [ROW, ROW]),
    wire.Ran(7, [wire.Reply(200, "", "text/plain", [], b"ok")], {"handle": 0.1}),
    wire.Pieces(7, [wire.Piece(1, wire.Reply(200, "", "text/plain", [], b"o"), last=True)]),
    wire.Raised(8, 503, "ValueError", "no", ["Traceback", "ValueError: no"]),
    wire.LoadFailed("ImportError", "no module", []),
    wire.Loaded(0.5, {"device": "cpu"}, 1 << 20),
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_a_frame_comes_out_as_it_went_in(frame: wire.Frame) -> None:
    assert wire.Decoder().feed(wire.encode(frame)) == [frame]


@given(st.lists(st.sampled_from(FRAMES), max_size=5), st.lists(st.integers(1, 40), min_size=1))
def test_frames_survive_any_way_of_cutting_the_stream(frames: list[wire.Frame], cuts: list[int]) -> None:
    stream = b"".join(wire.encode(frame) for frame in frames)
    decoder, received = wire.Decoder(), []
    position, turn = 0, 0
    while position < len(stream):
        step = cuts[turn % len(cuts)]
        received += decoder.feed(stream[position : position + step])
        position, turn = position + step, turn + 1
    assert received == frames
    assert decoder.pending == 0


def test_half_a_frame_is_no_frame_yet() -> None:
    decoder = wire.Decoder()
    assert decoder.feed(wire.encode(FRAMES[0])[:-1]) == []
    assert decoder.pending > 0


def test_feeding_nothing_gives_nothing() -> None:
    assert wire.Decoder().feed(b"") == []


def test_an_oversized_length_is_refused_before_it_is_believed() -> None:
    with pytest.raises(wire.WireError, match="at most"):
        wire.Decoder().feed((wire.MAX_FRAME + 1).to_bytes(4, "little"))


@given(st.binary(max_size=200))
def test_garbage_is_a_wire_error_or_an_unfinished_frame_never_anything_else(data: bytes) -> None:
    framed = len(data).to_bytes(4, "little") + data
    try:
        wire.Decoder().feed(framed)
    except wire.WireError as error:
        assert str(error)


def test_text_that_is_no_utf8_is_a_wire_error() -> None:
    broken = bytes(wire.encode(FRAMES[-2])).replace(b"ImportError", b"Import\xff\xff\xff\xff\xff")
    with pytest.raises(wire.WireError, match="not a frame"):
        wire.Decoder().feed(broken)


def test_a_row_that_is_printed_does_not_show_what_a_client_sent() -> None:
    assert repr(wire.Row("7", [("body", "", b"secret")], b"secret")) == "Row('7')"


def test_headers_travel_packed_and_keep_their_case() -> None:
    packed = wire.pack_headers([(b"X-Thing", b"1"), (b"x-other", b"\xe9")])
    assert wire.unpack_headers(packed) == {"X-Thing": "1", "x-other": "é"}
