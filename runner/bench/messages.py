"""What the bench and its generator say to each other: frames of a length and a msgpack body, over pipes."""

from __future__ import annotations

import struct
from typing import IO

import msgspec

_LENGTH = struct.Struct(">Q")


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One round of load. `requests`: whole HTTP requests, sent in turn. Times in seconds.

    A closed loop has `concurrency` requests under way at any time; an open loop sends `rate` a second, whatever the
    server does, over at most `connections` connections. With `count` a closed loop ends when so many are answered
    after the warm-up.
    """

    host: str
    port: int
    requests: list[bytes]
    concurrency: int | None = None
    rate: float | None = None
    connections: int
    warmup: float
    duration: float
    count: int | None = None
    timeout: float
    seed: int = 0


class Began(msgspec.Struct, frozen=True, tag=True):
    """The warm-up is over."""


class Ended(msgspec.Struct, frozen=True, tag=True):
    """What became of the requests: arrays of float64 seconds on one clock and of int16 `runner.bench.outcome`.

    The measured part lies from `begin` to `end`; `busy` is the processor time that the generator took in it.
    `sent` is NaN for what was never sent. `stopped` says why the round ended before its time.
    """

    intended: bytes
    sent: bytes
    done: bytes
    outcomes: bytes
    begin: float
    end: float
    busy: float
    stopped: str | None = None


def write(stream: IO[bytes], message: msgspec.Struct) -> None:
    """Raises BrokenPipeError when nobody reads any more."""
    body = msgspec.msgpack.encode(message)
    stream.write(_LENGTH.pack(len(body)))
    stream.write(body)
    stream.flush()


def read(stream: IO[bytes]) -> bytes | None:
    """The body of the next frame; None when the other side has ended."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    body = stream.read(length)
    return body if len(body) == length else None
