"""The other end of the generator, and what finds out how fast it is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

import msgspec

from archiver.errors import ArchiveError
from runner.asking import Answer, Target
from runner.bench import messages
from runner.bench.figures import samples
from runner.bench.inputs import Input
from runner.bench.messages import Began, Ended, Round
from runner.bench.responder import Answering
from runner.pool.spawner import process_environment

_CEILING_SECONDS = 1.0
_TIMEOUT = 10.0


class GeneratorDied(ArchiveError):
    """The process that sends has ended by itself."""

    code = "bench/generator-died"

    def __init__(self, status: int) -> None:
        super().__init__(f"the load generator ended with status {status}")


@dataclass(frozen=True, slots=True)
class Way:
    """How the requests of a level are sent. `connections`: most of them at once in an open loop."""

    concurrency: int | None
    rate: float | None
    connections: int
    warmup: float
    duration: float
    count: int | None
    timeout: float


class Generator:
    """The process. In a session of its own: Ctrl-C is for us, and we end it."""

    def __init__(self) -> None:
        self._process = _child("runner.bench.generator")

    def round(self, order: Round, began: Callable[[], None]) -> Ended:
        """Run one round; `began` is called when its measured part starts. Raises GeneratorDied."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            messages.write(self._process.stdin, order)
        except BrokenPipeError:
            raise GeneratorDied(self._process.wait()) from None
        while (body := messages.read(self._process.stdout)) is not None:
            told = msgspec.msgpack.decode(body, type=Began | Ended)
            if isinstance(told, Ended):
                return told
            began()
        raise GeneratorDied(self._process.wait())

    def __enter__(self) -> Generator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _end(self._process)


def requests_of(target: Target, inputs: Sequence[Input], headers: Mapping[str, str]) -> list[bytes]:
    """Whole HTTP requests."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    own = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {target.path} HTTP/1.1\r\nhost: {host}:{target.port}\r\n{own}"
    return [
        f"{head}content-type: {each.content_type}\r\ncontent-length: {len(each.body)}\r\n\r\n".encode() + each.body
        for each in inputs
    ]


def round_of(way: Way, address: tuple[str, int], requests: Sequence[bytes], seed: int) -> Round:
    return Round(
        host=address[0],
        port=address[1],
        requests=list(requests),
        concurrency=way.concurrency,
        rate=way.rate,
        connections=way.concurrency or way.connections,
        warmup=way.warmup,
        duration=way.duration,
        count=way.count,
        timeout=way.timeout,
        seed=seed,
    )


def ceiling(generator: Generator, request: bytes, answer: Answer, concurrency: int) -> float:
    """Requests a second that the generator gets from a server with nothing behind it, for this very request and an
    answer as long as the real one. Closed loop."""
    way = Way(concurrency, None, concurrency, 0.2, _CEILING_SECONDS, None, _TIMEOUT)
    with _responder(len(request), _answer_bytes(answer)) as port:
        ended = generator.round(round_of(way, ("127.0.0.1", port), [request], 0), lambda: None)
    return samples(ended).throughput()


def _answer_bytes(answer: Answer) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {answer.content_type}\r\ncontent-length: {len(answer.body)}\r\n\r\n"
    return head.encode("latin-1") + answer.body


@contextmanager
def _responder(size: int, answer: bytes) -> Iterator[int]:
    process = _child("runner.bench.responder")
    assert process.stdin is not None and process.stdout is not None
    try:
        messages.write(process.stdin, Answering(size, answer))
        yield int(process.stdout.readline())
    finally:
        _end(process)


def _child(module: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**process_environment(), "PYTHONUNBUFFERED": "1"},
        start_new_session=os.name == "posix",
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        try:
            stream.close()
        except BrokenPipeError:
            continue
