"""Asking a server one thing over HTTP: where it goes, and what came of it in words. Standard library only."""

from __future__ import annotations

import http.client
import json
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, replace

from archiver.errors import ArchiveError, UsageError

#: What torch-model-archiver and we allow as a model's name.
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

_PORTS = {"http": http.client.HTTP_PORT, "https": http.client.HTTPS_PORT}


class NoAnswer(ArchiveError):
    """The address did not answer: nobody there, too slow, or the connection broke."""

    code = "predict/no-answer"

    def __init__(self, target: Target, reason: str, hint: str | None = None) -> None:
        super().__init__(f"no answer from {target.address}: {reason}", hint=hint)


class Refused(ArchiveError):
    """The server answered with an error status; its message is ours."""

    code = "predict/refused"

    def __init__(self, target: Target, status: int, reason: str, body: bytes) -> None:
        super().__init__(f"{target.address}{target.path} answered {status} {reason}: {_message(body)}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def connect(self, timeout: float) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self.scheme == "https" else http.client.HTTPConnection
        return kind(self.host, self.port, timeout=timeout)


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer: the body as sent, and its content type ("" if the server gave none)."""

    body: bytes
    content_type: str


def target_of(model: str, host: str, port: int, version: str | None) -> Target:
    """A URL stays as it is; a model's name becomes the prediction route on `host`:`port`.

    Raises UsageError for what is neither, and for a URL that is combined with a version.
    """
    if "://" in model:
        if version is not None:
            raise UsageError("--version goes with a model's name; a URL already says which model")
        return _from_url(model)
    if not MODEL_NAME.fullmatch(model):
        raise UsageError(f"`{model}` is no model's name", hint=f"an address starts with a scheme: http://{model}")
    return Target("http", host, port, "/".join(["/predictions", model, *([version] if version else [])]))


def _from_url(text: str) -> Target:
    try:
        url = urllib.parse.urlsplit(text)
        port = url.port
    except ValueError as error:
        raise UsageError(f"`{text}` is not an address: {error}") from error
    if url.scheme not in ("http", "https") or not url.hostname:
        raise UsageError(f"`{text}` is not an http:// or https:// address")
    query = f"?{url.query}" if url.query else ""
    return Target(url.scheme, url.hostname, port or _PORTS[url.scheme], (url.path or "/") + query)


def post(
    target: Target, body: bytes, content_type: str, timeout: float, headers: Mapping[str, str] | None = None
) -> Answer:
    """Send one request. Raises NoAnswer when none comes, Refused for any status from 300 on.

    `timeout` is in seconds and holds for connecting and for each read. `headers` come beside the content type.
    """
    return _asked(target, "POST", body, {**(headers or {}), "Content-Type": content_type}, timeout)


def get(target: Target, path: str, timeout: float, headers: Mapping[str, str] | None = None) -> Answer:
    """What the server of `target` has at another path. Raises as `post` does."""
    return _asked(replace(target, path=path), "GET", None, headers or {}, timeout)


def _asked(target: Target, method: str, body: bytes | None, headers: Mapping[str, str], timeout: float) -> Answer:
    connection = target.connect(timeout)
    try:
        connection.request(method, target.path, body=body, headers=headers)
        response = connection.getresponse()
        answer = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise _no_answer(target, error, timeout) from error
    finally:
        connection.close()
    if response.status >= 300:
        raise Refused(target, response.status, response.reason, answer)
    return Answer(answer, response.headers.get("Content-Type", ""))


def _no_answer(target: Target, error: Exception, timeout: float) -> NoAnswer:
    if isinstance(error, ConnectionRefusedError):
        return NoAnswer(
            target, "nothing listens there", f"`archive serve MODEL.mar --port {target.port}` starts a server"
        )
    if isinstance(error, TimeoutError):
        return NoAnswer(target, f"{timeout:g} s went by", "--timeout SECONDS waits longer")
    return NoAnswer(target, reason_of(error))


def reason_of(error: Exception) -> str:
    """The operating system's words without the number in front."""
    text = error.strerror if isinstance(error, OSError) else None
    return (text or str(error) or type(error).__name__).lower()


def _message(body: bytes) -> str:
    """The sentence in an error body: ours and TorchServe's have a "message"; others are shown as they are."""
    text = body.decode("utf-8", "replace").strip()
    try:
        message = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        return text or "(no body)"
    return str(message)
