"""HTTP body → row, reply → HTTP."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from runner import wire
from runner.frontend.problems import Problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = b"application/json"
_BYTES = b"application/octet-stream"
#: Fields of a form, and as many files.
MOST_FIELDS = 1000
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
#: Headers that say where a response ends, or that we have set.
_OURS = frozenset(("connection", "content-length", "content-type", "transfer-encoding", "x-request-id"))
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z").match
#: More are a denial of service, and beyond 4300 an error of Python's own.
_DIGITS = 18
_NO_BREAKS = {code: " " for code in (0, 10, 13)}


class TooLarge(Exception):
    """The body goes beyond the limit; it was not read to its end."""


class ClientGone(Exception):
    """The client hung up before its body was complete."""


class BadForm(Exception):
    """A form body that cannot be parsed."""


def number_in(text: str) -> int | None:
    """The whole number that a client wrote; None for what is none, or is longer than any that we need."""
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else None


async def read_body(receive: Receive, declared: bytes | None, limit: int) -> bytes:
    """The whole body, of at most `limit` bytes. Raises TooLarge or ClientGone."""
    if declared is not None and (number_in(declared.decode("latin-1")) or 0) > limit:
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
    """A row's parameters: form fields by name, or the raw body as "body". Only files among the fields have a type;
    handlers for TorchServe get the others as bytes, and decode them. Raises BadForm."""
    if not is_form(content_type):
        return [("body", content_type, body)]
    if content_type.lower().startswith(_FORMS[0]):
        return await _multipart(content_type, body)
    try:
        text = body.decode("latin-1")
        pairs = parse_qsl(text, keep_blank_values=True, encoding="utf-8", max_num_fields=MOST_FIELDS)
    except ValueError as error:
        raise BadForm(f"The form has more than {MOST_FIELDS} fields.") from error
    return [(name, "", value.encode()) for name, value in pairs]


async def _multipart(content_type: str, body: bytes) -> list[tuple[str, str, bytes]]:
    async def whole() -> AsyncGenerator[bytes, None]:
        yield body

    _, options = parse_options_header(content_type)
    # The parser would take a body that was cut off for a complete one.
    boundary = options.get(b"boundary", b"\0")
    if b"--" + boundary + b"--" not in body:
        raise BadForm("The multipart form has no closing boundary: it is not complete.")
    # Without the client's charset: that would be the name of any codec of Python's, among them slow and failing ones.
    kind = b'multipart/form-data; boundary="%b"' % boundary.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    limits = {"max_part_size": max(len(body), 1), "max_fields": MOST_FIELDS, "max_files": MOST_FIELDS}
    parser = MultiPartParser(Headers(raw=[(b"content-type", kind)]), whole(), **limits)
    try:
        form = await parser.parse()
    except (MultiPartException, FormParserError) as error:
        raise BadForm(f"The multipart form cannot be parsed: {error}") from error
    params: list[tuple[str, str, bytes]] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            params.append((name, value.content_type or "application/octet-stream", await value.read()))
        else:
            params.append((name, "", value.encode()))
    await form.close()
    return params


def is_form(content_type: bytes | str) -> bool:
    """Whether a body of this type holds several fields."""
    text = content_type.decode("latin-1") if isinstance(content_type, bytes) else content_type
    return text.lower().startswith(_FORMS)


def headers_of(answer: wire.Reply | Problem, request_id: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Body and headers of an answer. What a handler set cannot break the response's framing."""
    if isinstance(answer, Problem):
        body, kind, own = answer.body(), JSON, [*answer.headers.items()]
    else:
        body, kind, own = answer.body, _header_value(answer.content_type) or _BYTES, answer.headers
    headers = [
        (b"content-type", kind),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id),
    ]
    for name, value in own:
        if _TOKEN(name) and name.lower() not in _OURS:
            headers.append((name.lower().encode("ascii"), _header_value(value)))
    return body, headers


def stream_headers(head: wire.Reply, request_id: bytes) -> list[tuple[bytes, bytes]]:
    """Headers of an answer whose length is not known yet."""
    return [(name, value) for name, value in headers_of(head, request_id)[1] if name != b"content-length"]


def _header_value(text: str) -> bytes:
    return text.translate(_NO_BREAKS).encode("latin-1", "replace")


async def send_answer(send: Send, answer: wire.Reply | Problem, request_id: bytes) -> None:
    """An answer as an ASGI response."""
    body, headers = headers_of(answer, request_id)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
