"""Who may ask: keys for predictions, for management and for renewing both, in a file of the operator's.

The file, the text of a refusal and GET /token are TorchServe's (its docs/token_authorization_api.md). Different on
purpose: health and metrics stay open, for probes and scrapers; the file is read again when it changes, so that keys
are rotated without a restart.

Rules of the room
1. Keys are compared in constant time, and never logged.
2. The file is written with mode 0600, whole or not at all.
3. A server that is asked to check keys and cannot read them refuses everything that needs one.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from hmac import compare_digest
from pathlib import Path
from typing import Any

log = logging.getLogger("archive.server")

INFERENCE, MANAGEMENT, API = "inference", "management", "API"
_MANAGED = ("/models", "/workflows")
_BELOW_MANAGED = ("/models/", "/workflows/")
_EXPIRES = "expiration time"
_BYTES = 24
#: Routes that need no key: health, what the server measures, and what it can do.
_OPEN = ("/ping", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready", "/metrics", "/openapi.json")
_OPEN_DOCUMENTS = ("/", "/api-description", "/v2")


class KeyFileError(Exception):
    """The file cannot be read or written; the message says why, without its content."""


@dataclass(frozen=True, slots=True)
class Key:
    """`expires`: seconds since 1970, None for never."""

    value: str
    expires: float | None

    def is_good(self, given: str, now: float) -> bool:
        """Whether the given key is this one and still counts."""
        same = compare_digest(self.value.encode(), given.encode())
        return same and (self.expires is None or now < self.expires)


class Tokens:
    """The keys in `file`. `now`: seconds since 1970; `minutes`: how long a new key counts."""

    def __init__(self, file: Path, now: Callable[[], float], minutes: float = 60.0) -> None:
        self._file = file
        self._now = now
        self._seconds = minutes * 60
        self._seen: tuple[int, int] | None = None
        self._keys: dict[str, Key] = {}

    def create(self) -> None:
        """New keys, when there is no file. Raises KeyFileError."""
        if self._file.exists():
            self._read()
            return
        self._keys = {kind: self._new() for kind in (MANAGEMENT, INFERENCE)} | {API: Key(_random(), None)}
        self._write()

    def allows(self, method: str, path: str, authorization: str) -> bool:
        """Whether a request may go on. `authorization`: the header as it came."""
        purpose = purpose_of(method, path)
        if purpose is None:
            return True
        scheme, _, given = authorization.partition(" ")
        return scheme.lower() == "bearer" and self._is_good(purpose, given.strip())

    def renew(self, kind: str) -> dict[str, Any]:
        """A new key of that kind in the file, as the file has it. Raises KeyFileError, KeyError for no such kind."""
        self._read()
        if kind not in (INFERENCE, MANAGEMENT):
            raise KeyError(kind)
        self._keys[kind] = self._new()
        self._write()
        return {kind: _plain(self._keys[kind])}

    def _is_good(self, purpose: str, given: str) -> bool:
        try:
            self._read()
        except KeyFileError as error:
            log.error("%s; requests that need a key are refused", error)
            return False
        key = self._keys.get(purpose)
        return key is not None and key.is_good(given, self._now())

    def _new(self) -> Key:
        return Key(_random(), self._now() + self._seconds)

    def _read(self) -> None:
        """The keys as the file has them now."""
        try:
            stat = self._file.stat()
            if self._seen == (stat.st_mtime_ns, stat.st_ino):
                return
            plain = json.loads(self._file.read_bytes())
            self._keys = {kind: _key(plain[kind]) for kind in (MANAGEMENT, INFERENCE, API)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._seen, self._keys = None, {}
            raise KeyFileError(f"the key file {self._file} cannot be used: {type(error).__name__}") from error
        self._seen = (stat.st_mtime_ns, stat.st_ino)
        if stat.st_mode & 0o077:
            log.warning("the key file %s can be read by others: chmod 600 it", self._file)

    def _write(self) -> None:
        text = json.dumps({kind: _plain(key) for kind, key in self._keys.items()}, indent=2)
        try:
            handle, new = tempfile.mkstemp(prefix=".keys", dir=self._file.parent)  # mode 0600
            with os.fdopen(handle, "w") as file:
                file.write(text + "\n")
            Path(new).replace(self._file)
            stat = self._file.stat()
        except OSError as error:
            raise KeyFileError(f"cannot write the key file {self._file}: {error.strerror}") from error
        self._seen = (stat.st_mtime_ns, stat.st_ino)


def authorization_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The header of an ASGI header list; "" where there is none."""
    return next((value.decode("latin-1") for name, value in headers if name == b"authorization"), "")


def purpose_of(method: str, path: str) -> str | None:
    """Which key a request needs; None for those that need none."""
    if path in _OPEN or path in _OPEN_DOCUMENTS:
        return None
    if path == "/token":
        return API
    manages = path in _MANAGED or path.startswith(_BELOW_MANAGED)
    predicts = method == "POST" and path.endswith("/invoke")  # SageMaker's way to a prediction
    return MANAGEMENT if manages and not predicts else INFERENCE


def _random() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(_BYTES)).decode()


def _plain(key: Key) -> dict[str, str]:
    if key.expires is None:
        return {"key": key.value}
    return {"key": key.value, _EXPIRES: datetime.fromtimestamp(key.expires, timezone.utc).isoformat()}


def _key(plain: dict[str, str]) -> Key:
    """Raises KeyError, TypeError, ValueError and AttributeError for what is no key."""
    when = plain.get(_EXPIRES)
    # TorchServe writes nanoseconds and a Z, which Python before 3.11 does not read.
    expires = None if when is None else datetime.fromisoformat(_to_microseconds(when)).timestamp()
    if not isinstance(plain["key"], str) or not plain["key"]:
        raise ValueError("a key is no text")
    return Key(plain["key"], expires)


def _to_microseconds(when: str) -> str:
    when = when.replace("Z", "+00:00")
    head, dot, rest = when.partition(".")
    if not dot:
        return when
    digits = rest[: next((place for place, mark in enumerate(rest) if not mark.isdigit()), len(rest))]
    return f"{head}.{digits[:6]:0<6}{rest[len(digits) :]}"
