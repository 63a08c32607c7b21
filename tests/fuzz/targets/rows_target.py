"""A parameter as a worker decodes it: a value for the handler, or BadRequest for this row alone."""

from __future__ import annotations

import contextlib

from runner import wire
from runner.handlers.errors import BadRequest
from runner.worker.rows import decode


def one(data: bytes) -> None:
    """A line with the content type, then the value."""
    kind, _, value = data.partition(b"\n")
    row = wire.Row("id", [("body", kind.decode("latin-1"), value)], wire.pack_headers([]))
    with contextlib.suppress(BadRequest):
        decode(row)
