"""Bodies of requests: parameters that can travel to a worker, or BadForm."""

from __future__ import annotations

from runner import wire
from runner.frontend.bodies import BadForm, params_of


def one(data: bytes) -> None:
    """A line with the content type, then the body."""
    kind, _, body = data.partition(b"\n")
    try:
        params = _parsed(kind.decode("latin-1"), body)
    except BadForm as error:
        assert str(error)
        return
    run = wire.Run(1, [wire.Row("id", params, wire.pack_headers([]))])
    assert wire.Decoder().feed(wire.encode(run)) == [run]


def _parsed(kind: str, body: bytes) -> list[tuple[str, str, bytes]]:
    """Driven by hand: nothing here waits, as long as bodies are small."""
    work = params_of(kind, body)
    try:
        work.send(None)  # type: ignore[attr-defined]  # a coroutine
    except StopIteration as done:
        found: list[tuple[str, str, bytes]] = done.value
        return found
    raise AssertionError("it waits for something")
