"""HTTP body → row, reply → HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from runner import wire

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = b"application/json"


class TooLarge(Exception):
    """The body goes beyond the limit; it was not read to its end."""


class ClientGone(Exception):
    """The client hung up before its body was complete."""


class BadForm(Exception):
    """A form body that cannot be parsed."""


async def read_body(receive: Receive, declared: bytes | None, limit: int) -> bytes:
    """The whole body, of at most `limit` bytes. Raises TooLarge or ClientGone."""
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise TooLarge
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > limit:
            raise TooLarge
        return body
    parts, size = [body], len(body)
    while message.get("more_body", False):
        if size > limit:
            raise TooLarge
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    if size > limit:
        raise TooLarge
    return b"".join(parts)


async def params_of(content_type: str, body: bytes) -> list[tuple[str, str, bytes]]:
    """A row's parameters: form fields by name, or the raw body as "body". Raises BadForm."""
    if content_type.startswith("multipart/form-data"):
        return await _multipart(content_type, body)
    if content_type.startswith("application/x-www-form-urlencoded"):
        pairs = parse_qsl(body.decode("latin-1"), keep_blank_values=True, encoding="utf-8")
        return [(name, "text/plain", value.encode()) for name, value in pairs]
    return [("body", content_type, body)]


async def _multipart(content_type: str, body: bytes) -> list[tuple[str, str, bytes]]:
    async def whole() -> AsyncGenerator[bytes, None]:
        yield body

    _, options = parse_options_header(content_type)
    # The parser would take a body that was cut off for a complete one.
    if b"--" + options.get(b"boundary", b"\0") + b"--" not in body:
        raise BadForm("The multipart form has no closing boundary: it is not complete.")
    parser = MultiPartParser(
        Headers({"content-type": content_type}), whole(), max_part_size=max(len(body), 1), max_files=1000
    )
    try:
        form = await parser.parse()
    except (MultiPartException, FormParserError) as error:
        raise BadForm(f"The multipart form cannot be parsed: {error}") from error
    params: list[tuple[str, str, bytes]] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            params.append((name, value.content_type or "application/octet-stream", await value.read()))
        else:
            params.append((name, "text/plain", value.encode()))
    await form.close()
    return params


async def send_reply(send: Send, reply: wire.Reply, request_id: bytes) -> None:
    """A handler's answer as an HTTP response."""
    headers = [
        (b"content-type", reply.content_type.encode("latin-1") or b"application/octet-stream"),
        (b"content-length", b"%d" % len(reply.body)),
        (b"x-request-id", request_id),
    ]
    if reply.headers:
        headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def send_json(
    send: Send, status: int, body: bytes, request_id: bytes, extra: MutableMapping[str, str] | dict[str, str]
) -> None:
    """A JSON answer of ours."""
    headers = [
        (b"content-type", JSON),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id),
        *((name.lower().encode(), value.encode()) for name, value in extra.items()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
