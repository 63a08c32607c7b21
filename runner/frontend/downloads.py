"""Archives from elsewhere into the model store: only from addresses that the operator has named.

An allowed address is a prefix: scheme, host and port are the same, and the path lies below its path. That is exact,
where TorchServe's regular expressions let more through than they seem to (CVE-2024-35198), and it holds for every
hop of a redirect, which TorchServe follows unasked. A host that is named may be anywhere, also in a private network.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

log = logging.getLogger("archive.server")

_HOPS = 5
_SECONDS = 60
_CHUNK = 1 << 20
_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*\.(?:mar|tar\.gz|tgz|war)")
_REDIRECTS = (301, 302, 303, 307, 308)


class NotAllowed(ValueError):
    """The address, or one that it leads to, is not one that archives may come from."""


class DownloadFailed(Exception):
    """The archive did not come, or not whole."""


class AlreadyThere(Exception):
    """The store has a file of that name; it stays as it is."""


class Downloads:
    """`allowed`: prefixes of addresses; `largest`: bytes of an archive. Raises NotAllowed for what is no prefix."""

    def __init__(self, store: Path, allowed: Sequence[str], largest: int = 100 << 30) -> None:
        self._store = store
        self._allowed = [_checked(text) for text in allowed]
        self._largest = largest

    def fetch(self, address: str) -> str:
        """Put the archive into the store; its name there. Blocks. Raises NotAllowed, DownloadFailed, AlreadyThere."""
        url = self._permitted(address)
        name = unquote(url.path.rpartition("/")[2])
        if not _NAME.fullmatch(name):
            raise NotAllowed(f"{address} does not end in the name of an archive: NAME.mar, NAME.tar.gz")
        target = self._store / name
        if target.exists():
            raise AlreadyThere(f"Model file already exists {name}")
        handle, draft = tempfile.mkstemp(prefix=".coming-", dir=self._store)
        try:
            with os.fdopen(handle, "wb") as file:
                digest = self._copy(url, file.write)
            Path(draft).chmod(0o644)
            os.link(draft, target)  # unlike a rename, never over another file
        except FileExistsError as error:
            raise AlreadyThere(f"Model file already exists {name}") from error
        except (OSError, http.client.HTTPException, DownloadFailed) as error:
            raise DownloadFailed(f"Failed to download archive from: {address}: {error}") from error
        finally:
            Path(draft).unlink()
        log.info("%s has come from %s, sha256 %s", name, url.hostname, digest)
        return name

    def _permitted(self, address: str) -> SplitResult:
        url = _checked(address)
        for prefix in self._allowed:
            if _origin(url) == _origin(prefix) and url.path.startswith(prefix.path.rstrip("/") + "/"):
                return url
        raise NotAllowed(f"Given URL {address} does not match any allowed URL(s)")

    def _copy(self, url: SplitResult, write: Callable[[bytes], object]) -> str:
        """Follow redirects, then write the body; its digest."""
        for _ in range(_HOPS):
            connection = _connection(url)
            try:
                connection.request("GET", _target(url), headers={"Accept": "*/*", "Accept-Encoding": "identity"})
                response = connection.getresponse()
                if response.status not in _REDIRECTS:
                    return self._body(response, write)
                url = self._permitted(urljoin(url.geturl(), response.headers.get("location", "")))
            finally:
                connection.close()
        raise DownloadFailed(f"more than {_HOPS} redirects")

    def _body(self, response: http.client.HTTPResponse, write: Callable[[bytes], object]) -> str:
        if response.status != 200:
            raise DownloadFailed(f"it answered {response.status} {response.reason}")
        digest, size = hashlib.sha256(), 0
        while chunk := response.read(_CHUNK):
            size += len(chunk)
            if size > self._largest:
                raise DownloadFailed(f"it is larger than {self._largest} bytes")
            digest.update(chunk)
            write(chunk)
        if response.length:
            raise DownloadFailed(f"{response.length} bytes are missing")
        return digest.hexdigest()


def _checked(text: str) -> SplitResult:
    """Raises NotAllowed for what is no plain address of a file on the web."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise NotAllowed(f"{text} is no address: {error}") from error
    if url.scheme not in _PORTS or not url.hostname or port == 0:
        raise NotAllowed(f"{text} is no address on the web: http://HOST/… or https://HOST/…")
    if url.username is not None or url.password is not None:
        raise NotAllowed("an address holds no user and password here")
    if ".." in unquote(url.path).split("/") or "\\" in url.path:
        raise NotAllowed(f"Relative path is not allowed in url: {text}")
    return url


def _origin(url: SplitResult) -> tuple[str, str, int]:
    return url.scheme, (url.hostname or "").lower(), url.port or _PORTS[url.scheme]


def _connection(url: SplitResult) -> http.client.HTTPConnection:
    _, host, port = _origin(url)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    return kind(host, port, timeout=_SECONDS)


def _target(url: SplitResult) -> str:
    return f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
