"""The stream between front end and worker: frames or a WireError, the same however the stream is cut."""

from __future__ import annotations

from runner import wire


def one(data: bytes) -> None:
    """The first byte says how the rest is cut."""
    step, stream = data[0] % 61 + 1 if data else 1, data[1:]
    (frames, broken), in_pieces = (
        _decoded([stream]),
        _decoded([stream[at : at + step] for at in range(0, len(stream), step)]),
    )
    # A decoder that meets nonsense gives nothing of the piece in which it was.
    assert in_pieces == (frames, broken) or (broken and in_pieces[0][: len(frames)] == frames)
    for frame in frames:
        (again,) = wire.Decoder().feed(frame)
        assert wire.encode(again) == frame


def _decoded(pieces: list[bytes]) -> tuple[list[bytearray], bool]:
    """The frames before the first that is none, encoded since no NaN is another, and whether there is one."""
    decoder, frames = wire.Decoder(), []
    try:
        for piece in pieces:
            frames += map(wire.encode, decoder.feed(piece))
    except wire.WireError as error:
        assert str(error)
        return frames, True
    return frames, False
