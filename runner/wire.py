"""Frames between the front end and a worker. Pure: bytes in, frames out; no socket, no clock.

Rules of the room
1. A frame is a 4-byte little-endian length and a msgpack body of exactly that many bytes. No pickles, ever.
2. A frame type is a tagged struct below; what is not one of them is a `WireError`, and so is a length beyond
   `MAX_FRAME`. Whoever meets one drops the connection: the other side is broken or hostile.
3. `Decoder.feed` takes whatever the socket gave, half frames and many frames alike.
"""

from __future__ import annotations

from typing import Any

import msgspec

MAX_FRAME = 1 << 31
_LENGTH = 4


class WireError(Exception):
    """Something that is not a frame was received, or was to be sent."""


class Row(msgspec.Struct, array_like=True):
    """One input of one request, undecoded.

    `params`: (name, content type, value) in the order received; a raw body is the one parameter "body".
    `headers`: the request's headers packed by `pack_headers`; a worker decodes them only if the handler asks.
    """

    id: str
    params: list[tuple[str, str, bytes]]
    headers: bytes

    def __repr__(self) -> str:
        return f"Row({self.id!r})"  # what clients send is not to be printed, not even by an error


class Reply(msgspec.Struct, array_like=True):
    """The answer to one row. `content_type` "" = not set by the handler; `headers` are the handler's own."""

    status: int
    phrase: str
    content_type: str
    headers: list[tuple[str, str]]
    body: bytes


class MetricDefinition(msgspec.Struct, array_like=True):
    """What is defined for a metric of handlers, whatever they say themselves. `type`: counter, gauge or histogram."""

    name: str
    unit: str
    type: str
    dimensions: list[str]


class Confinement(msgspec.Struct, array_like=True, frozen=True):
    """What a worker gives up beyond what all give up. `memory`: bytes of its own; `files`: descriptors; 0 for no
    limit. `sandbox`: it reads and writes only what it needs; `readable`: files and folders that it may read as well;
    `scratch`: the folder in which it makes its temporary one."""

    memory: int = 0
    files: int = 0
    sandbox: bool = False
    readable: list[str] = []
    scratch: str = ""


class Load(msgspec.Struct, tag="load"):
    """Load this model. `config` is a `ModelConfig` as plain values; `device` is "cpu", "mps" or "cuda:N".

    `digest`: of the archive's content without compiled code; `compile_cache`: the folder for what the compiler makes,
    None for none. `precompiled`: whether compiled code that the archive brings may be loaded. `ahead`: make a package
    (see runner.optimize.package) also where torch.compile would do.
    `world`: of how many processes the worker consists by torchrun, 0 without it; `rank`: which of them this is,
    `port`: where they meet (both set by rank 0). `visible`: numbers of the GPUs that they may see, [] for all.
    For pt2.background: `eager_first` leaves compilation out, `background` loads behind those who serve meanwhile.
    `metrics`: those that are defined (TorchServe's metrics.yaml). `confinement`: what the worker gives up first.
    """

    model_name: str
    model_version: str
    model_dir: str
    manifest: dict[str, Any]
    config: dict[str, Any]
    device: str
    threads: int
    cpus: list[int] | None
    trusted: bool
    envelope: str | None = None
    digest: str = ""
    compile_cache: str | None = None
    precompiled: bool = False
    ahead: bool = False
    eager_first: bool = False
    background: bool = False
    world: int = 0
    rank: int = 0
    port: int = 0
    visible: list[int] = []
    metrics: list[MetricDefinition] = []
    confinement: Confinement = Confinement()


class Loaded(msgspec.Struct, tag="loaded"):
    """The model is optimised, exercised and ready. `report`: what was declared, applied and measured."""

    seconds: float
    report: dict[str, Any]
    memory: int


class LoadFailed(msgspec.Struct, tag="load-failed"):
    """`kind` is the exception's class name; `trace` its last lines as Python prints them."""

    kind: str
    message: str
    trace: list[str]
    out_of_memory: bool = False


class Run(msgspec.Struct, tag="run"):
    """Run these rows as one batch. `batch` names it in the answer."""

    batch: int
    rows: list[Row]


class Leave(msgspec.Struct, tag="leave"):
    """Nobody waits for that batch any more (continuousBatching). `Ran` follows, unless it was sent already."""

    batch: int


class Metric(msgspec.Struct, array_like=True):
    """One value that a handler reported through its metrics API. `type`: counter, gauge or histogram."""

    name: str
    value: float
    unit: str
    type: str
    dimensions: dict[str, str]


class Ran(msgspec.Struct, tag="ran"):
    """One reply per row, in order. `seconds`: "handle", and preprocess, inference, postprocess where known."""

    batch: int
    replies: list[Reply]
    seconds: dict[str, float]
    metrics: list[Metric] = []


class Piece(msgspec.Struct, array_like=True):
    """A part of the answer to the row at `place` of its batch. `last`: nothing follows for this row."""

    place: int
    reply: Reply
    last: bool = False


class Pieces(msgspec.Struct, tag="pieces"):
    """Parts of answers of a batch that is still running. `Ran` or `Raised` follows."""

    batch: int
    pieces: list[Piece]


class Raised(msgspec.Struct, tag="raised"):
    """The whole batch failed. `status` and `message` are the answer if it cannot be retried.

    `retire` asks for the worker to be replaced (a CUDA error that sticks, memory that is used up).
    """

    batch: int
    status: int
    kind: str
    message: str
    trace: list[str]
    retire: bool = False


Frame = Load | Loaded | LoadFailed | Run | Leave | Ran | Pieces | Raised

_encoder = msgspec.msgpack.Encoder()
_headers_decoder = msgspec.msgpack.Decoder(list[tuple[bytes, bytes]])
_decoder = msgspec.msgpack.Decoder(Frame)


def encode(frame: Frame) -> bytearray:
    """The frame with its length in front, in one buffer. Raises WireError when it is larger than a frame may be."""
    buffer = bytearray(_LENGTH)
    _encoder.encode_into(frame, buffer, _LENGTH)
    if len(buffer) - _LENGTH > MAX_FRAME:
        raise WireError(f"a frame of {len(buffer) - _LENGTH} bytes; at most {MAX_FRAME} are allowed")
    buffer[:_LENGTH] = (len(buffer) - _LENGTH).to_bytes(_LENGTH, "little")
    return buffer


def pack_headers(headers: list[tuple[bytes, bytes]]) -> bytes:
    """ASGI's header list as the one field that travels."""
    return _encoder.encode(headers)


def unpack_headers(packed: bytes) -> dict[str, str]:
    """Header name as it arrived → value; of a repeated header the last one."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in _headers_decoder.decode(packed)}


class Decoder:
    """Turns a byte stream into frames."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> list[Frame]:
        """All frames that `data` completes. Raises WireError on what cannot be a frame."""
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        start = 0
        with memoryview(buffer) as view:
            while len(buffer) - start >= _LENGTH:
                size = int.from_bytes(view[start : start + _LENGTH], "little")
                if size > MAX_FRAME:
                    raise WireError(f"a frame of {size} bytes; at most {MAX_FRAME} are allowed")
                end = start + _LENGTH + size
                if len(buffer) < end:
                    break
                frames.append(_decode(view[start + _LENGTH : end]))
                start = end
        del buffer[:start]
        return frames

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not complete yet."""
        return len(self._buffer)


def _decode(body: memoryview) -> Frame:
    try:
        frame: Frame = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not a frame: {error}") from error
    return frame
