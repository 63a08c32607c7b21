"""TorchServe's headers about sequences ⇄ marks. A sequence that begins without an id gets one, and is told it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from runner import wire
from runner.scheduling.job import Client
from runner.scheduling.sequences import Mark

ID, START, END = "ts_request_sequence_id", "ts_request_sequence_start", "ts_request_sequence_end"


def marked(row: wire.Row, client: Client) -> tuple[Mark | None, wire.Row, Client]:
    """What the request says of its sequence, None for nothing; the row as its handler is to see it, and who gets the
    answer."""
    headers = {name.lower(): value for name, value in wire.unpack_headers(row.headers).items()} if row.headers else {}
    name = headers.get(ID)
    starts, ends = (headers.get(key, "").lower() == "true" for key in (START, END))
    if name:
        return Mark(name, starts, ends), row, client
    if not starts:
        return None, row, client
    name = uuid4().hex
    pairs = [(key.encode(), value.encode("latin-1")) for key, value in {**headers, ID: name}.items()]
    return Mark(name, starts, ends), wire.Row(row.id, row.params, wire.pack_headers(pairs)), _Named(client, name)


class _Named:
    """A client that is told the id of the sequence that it has begun."""

    __slots__ = ("_client", "_name")

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name

    def deliver(self, answer: Any) -> None:
        self._client.deliver(self._with_name(answer))

    def piece(self, reply: Any) -> None:
        self._client.piece(self._with_name(reply))

    def still_waiting(self) -> None:
        self._client.still_waiting()

    def _with_name(self, answer: Any) -> Any:
        if not isinstance(answer, wire.Reply):
            return answer
        return wire.Reply(
            answer.status, answer.phrase, answer.content_type, [*answer.headers, (ID, self._name)], answer.body
        )
