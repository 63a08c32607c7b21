"""Archives from elsewhere into the model store: only from addresses that the operator has named.

An allowed address is a prefix: scheme, host and port are the same, and the path lies below its path. That is exact,
where TorchServe's regular expressions let more through than they seem to (CVE-2024-35198), and it holds for every
hop of a redirect, which TorchServe follows unasked.

The host's name must lead to public addresses alone, whoever answers for that name: to anything else (private,
loopback, link-local, reserved) it leads only where the operator has written the address itself, `localhost`, or the
prefix as a private one. The connection goes to the very address that was looked at; a second look-up could bring
another one.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import logging
import os
import re
import socket
import ssl
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
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_REDIRECTS = (301, 302, 303, 307, 308)


class NotAllowed(ValueError):
    """The address, or one that it leads to, is not one that archives may come from."""


class DownloadFailed(Exception):
    """The archive did not come, or not whole."""


class AlreadyThere(Exception):
    """The store has a file of that name; it stays as it is."""


#: Host and port → the addresses behind them. Raises OSError.
Resolve = Callable[[str, int], Sequence[str]]


def resolve(host: str, port: int) -> list[str]:
    """As the system's resolver has it."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Downloads:
    """`allowed`: prefixes of addresses; `private`: those whose host may be in a private network; `largest`: bytes of
    an archive. Raises NotAllowed for what is no prefix."""

    def __init__(
        self,
        store: Path,
        allowed: Sequence[str],
        private: Sequence[str] = (),
        *,
        largest: int = 100 << 30,
        resolve: Resolve = resolve,
    ) -> None:
        self._store = store
        self._private = [_checked(text) for text in private]
        self._allowed = [*self._private, *map(_checked, allowed)]
        self._largest = largest
        self._resolve = resolve

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
        if any(_is_below(url, prefix) for prefix in self._allowed):
            return url
        raise NotAllowed(f"Given URL {address} does not match any allowed URL(s)")

    def _addresses(self, url: SplitResult) -> Sequence[str]:
        """Where the host is. Raises NotAllowed for one that is where its prefix does not let it be, and OSError."""
        _, host, port = _origin(url)
        found = self._resolve(host, port)
        if _names_an_address(host) or any(_is_below(url, prefix) for prefix in self._private):
            return found
        for address in found:
            if not _is_public(address):
                raise NotAllowed(
                    f"Given URL {url.geturl()} is not allowed: {host} is at {address}, which is no public address; "
                    "--allow-private-url allows one"
                )
        return found

    def _copy(self, url: SplitResult, write: Callable[[bytes], object]) -> str:
        """Follow redirects, then write the body; its digest."""
        for _ in range(_HOPS):
            connection = _connection(url, self._addresses(url))
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


def _is_below(url: SplitResult, prefix: SplitResult) -> bool:
    return _origin(url) == _origin(prefix) and url.path.startswith(prefix.path.rstrip("/") + "/")


def _names_an_address(host: str) -> bool:
    """Whether who writes the host knows where it is: its prefix has the same one."""
    try:
        return host == "localhost" or bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _is_public(text: str) -> bool:
    """Whether it is anybody's on the internet, also where it carries an address of IPv4."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        address = _carried(address) or address
    return address.is_global and not address.is_multicast


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The address of IPv4 that a gateway would make of it: mapped, 6to4, NAT64."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _connection(url: SplitResult, addresses: Sequence[str]) -> http.client.HTTPConnection:
    """To the first of the addresses that answers; a certificate must be the host's all the same. Raises OSError."""
    _, host, port = _origin(url)
    sock = _connected(addresses, port)
    if url.scheme == "http":
        connection = http.client.HTTPConnection(host, port)
    else:
        connection = http.client.HTTPSConnection(host, port)
        try:
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
        except OSError:
            sock.close()
            raise
    connection.sock = sock
    return connection


def _connected(addresses: Sequence[str], port: int) -> socket.socket:
    failure: OSError | None = None
    for address in addresses:
        try:
            return socket.create_connection((address, port), timeout=_SECONDS)
        except OSError as error:
            failure = error
    raise failure or OSError("the host has no address")


def _target(url: SplitResult) -> str:
    return f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
