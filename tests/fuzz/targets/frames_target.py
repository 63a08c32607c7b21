"""The stream between front end and worker: frames or a WireError, the same however the stream is cut."""

from __future__ import annotations

from runner import wire


def one(data: bytes) -> None:
    """The first byte says how the rest is cut."""
    step, stream = data[0] % 61 + 1 if data else 1, data[1:]
    whole = _decoded([stream])
    assert _decoded([stream[at : at + step] for at in range(0, len(stream), step)])[0][: len(whole[0])] == whole[0]
    frames, broken = whole
    for frame in frames:
        assert wire.Decoder().feed(wire.encode(frame)) == [frame]
    if not broken:
        assert _decoded([stream[at : at + step] for at in range(0, len(stream), step)]) == whole


def _decoded(pieces: list[bytes]) -> tuple[list[wire.Frame], bool]:
    """The frames before the first that is none, and whether there is one."""
    decoder, frames = wire.Decoder(), []
    try:
        for piece in pieces:
            frames += decoder.feed(piece)
    except wire.WireError as error:
        assert str(error)
        return frames, True
    return frames, False
