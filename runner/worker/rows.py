"""Bytes ⇄ rows: what a request holds becomes a handler's data row, what a handler returns becomes a reply.

TorchServe's rules (its otf_message_handler and service), with these differences:
- a body that is announced as JSON and is none is answered 400 for that row; TorchServe hands the bytes on;
- `application/json` counts with parameters too (`; charset=utf-8`);
- JSON goes out compact, and each answer has a content type;
- arrays and tensors inside a JSON answer become lists; dataclasses, dates, sets and bytes (base64) are accepted.
"""

from __future__ import annotations

import codecs
import io
import json
import logging
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import msgspec
import torch

from runner import wire
from runner.content_types import BINARY_TENSORS
from runner.handlers.context import RequestProcessor
from runner.handlers.errors import BadRequest, RowFailed, failed
from runner.worker.tensors import read_request

_log = logging.getLogger("archive.handler")

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain; charset=utf-8"
BINARY_TYPE = "application/octet-stream"

#: Python's own: escapes of its source; domain names, whose cost grows with the square of a text's length. UTF-7 is
#: no encoding of the web (https://encoding.spec.whatwg.org), and decodes to halves of characters.
_NO_CHARSETS = ("idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7")

Reader = Callable[[bytes], Any]


def decode(row: wire.Row) -> dict[str, Any]:
    """The row as handlers see it: field → value; of a repeated field the last one. JSON is decoded, text is str,
    anything else bytearray. Raises BadRequest for JSON or text that is none."""
    return {name: _reader(content_type)(value) for name, content_type, value in row.params}


@lru_cache(maxsize=256)
def _reader(content_type: str) -> Reader:
    """How values of this content type are read. The cache is what makes a header cheap: clients send few kinds."""
    kind, _, parameters = content_type.lower().partition(";")
    kind, charset = kind.strip(), _parameter(parameters, "charset", "utf-8")
    if kind == JSON_TYPE:
        return _read_json if charset == "utf-8" else lambda value: _read_json(_read_text(value, charset).encode())
    if kind == BINARY_TENSORS:
        return partial(read_request, header=_parameter(parameters, "header", ""))
    if kind.startswith("text/"):
        return lambda value: _read_text(value, charset)
    return bytearray


def _parameter(parameters: str, wanted: str, default: str) -> str:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == wanted:
            return value.strip().strip('"')
    return default


def _read_text(value: bytes, charset: str) -> str:
    if not _is_charset(charset):
        raise BadRequest(f"unknown charset {charset}")
    try:
        return value.decode(charset)
    except UnicodeDecodeError as error:
        raise BadRequest(f"the text is not valid {charset}: {error.reason} at byte {error.start}") from error
    except (LookupError, UnicodeError) as error:
        raise BadRequest(f"the text is not valid {charset}") from error


def _is_charset(name: str) -> bool:
    try:
        return codecs.lookup(name).name.replace("_", "-") not in _NO_CHARSETS
    except (LookupError, ValueError):
        return False


def _read_json(value: bytes) -> Any:
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # What only the standard library reads (NaN, 1e999, lone surrogates), and its better account of errors.
        return _read_json_slowly(value)
    except RecursionError as error:
        raise BadRequest("the JSON is nested too deeply") from error


def _read_json_slowly(value: bytes) -> Any:
    if not value.strip():
        raise BadRequest("the body is announced as JSON but is empty")
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno} (character {error.pos})"
        raise BadRequest(f"the body is not valid JSON: {error.msg} at {place}") from error
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not valid JSON: {error.reason} at byte {error.start}") from error
    except ValueError as error:
        raise BadRequest("the JSON holds a whole number with too many digits") from error  # Python's limit is 4300
    except RecursionError as error:
        raise BadRequest("the JSON is nested too deeply") from error


def encode(value: Any, processor: RequestProcessor | None) -> wire.Reply:
    """A handler's answer to one row as a reply, with the status and headers that the handler set for it.

    A value that JSON cannot hold is answered 503 for this row alone.
    """
    if isinstance(value, RowFailed):
        return problem(value)
    try:
        content_type, body = _encoded(value)
    except (TypeError, ValueError, RecursionError) as error:
        _log.error("the answer cannot be sent: %s", error)
        return problem(failed(503, "Unsupported model output data type."))
    if processor is None:
        return wire.Reply(200, "", content_type, [], body)
    return _as_wished(content_type, body, processor)


def problem(failure: RowFailed) -> wire.Reply:
    """The reply to a row that failed, in the shape of every error answer."""
    body = {"code": failure.status, "type": failure.type, "message": failure.message}
    return wire.Reply(failure.status, "", JSON_TYPE, [], _fast.encode(body))


def _as_wished(content_type: str, body: bytes, processor: RequestProcessor) -> wire.Reply:
    headers = []
    for name, value in processor.get_response_headers().items():
        if name.lower() == "content-type":
            content_type = str(value)
        else:
            headers.append((str(name), str(value)))
    phrase = processor.get_response_status_phrase() or ""
    return wire.Reply(processor.get_response_status_code(), phrase, content_type, headers, body)


def _encoded(value: Any) -> tuple[str, bytes]:
    if isinstance(value, str):
        return TEXT_TYPE, value.encode()
    if isinstance(value, bytes | bytearray):
        return BINARY_TYPE, bytes(value)
    if isinstance(value, torch.Tensor):
        return BINARY_TYPE, _saved(value)
    return JSON_TYPE, to_json(value)


def _saved(tensor: torch.Tensor) -> bytes:
    buffer = io.BytesIO()
    torch.save(tensor, buffer)
    return buffer.getvalue()


def to_json(value: Any) -> bytes:
    """Compact JSON. NaN and infinities are written as Python writes them, not as null. Raises TypeError,
    ValueError or RecursionError for what JSON cannot hold."""
    try:
        encoded = _fast.encode(value)
    except (TypeError, ValueError, OverflowError):
        return _slow.encode(value).encode()
    # msgspec writes NaN as null; where no null is, no NaN was.
    return _slow.encode(value).encode() if b"null" in encoded else encoded


def _list_of(value: Any) -> Any:
    """Numpy's and torch's arrays and scalars; everything else is no JSON."""
    if callable(tolist := getattr(value, "tolist", None)):
        return tolist()
    raise TypeError(f"a {type(value).__name__} is not JSON serialisable")


def _builtin(value: Any) -> Any:
    """What the standard encoder does not know, as the fast one would have written it."""
    return msgspec.to_builtins(value, enc_hook=_list_of)


_fast = msgspec.json.Encoder(enc_hook=_list_of)
_slow = json.JSONEncoder(separators=(",", ":"), default=_builtin)
