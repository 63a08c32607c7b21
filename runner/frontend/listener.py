"""Where the server listens, and what it serves there."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import ssl
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from archiver.errors import ServeFailed

_BACKLOG = 2048


class Surface(Enum):
    """A part of the HTTP surface that may have an address of its own, as in TorchServe."""

    INFERENCE = "inference"
    MANAGEMENT = "management"
    METRICS = "metrics"


EVERYTHING = frozenset(Surface)


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port, or the path of a Unix socket. `secure`: TLS is spoken there."""

    host: str = ""
    port: int = 0
    path: str = ""
    secure: bool = False

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}:"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}"


#: What a server listens on when nobody says otherwise.
LOCAL = Address("127.0.0.1", 8080)


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files: the certificate chain, and its private key."""

    file: Path
    key: Path


def check(certificate: Certificate) -> None:
    """Raises ServeFailed for one that TLS cannot be spoken with."""

    def no_passphrase() -> str:
        raise ServeFailed(
            f"the key {certificate.key} has a passphrase, which nobody is there to type",
            hint=f"openssl pkey -in {certificate.key} -out FILE",
        )

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate.file, certificate.key, no_passphrase)
    except ssl.SSLError as error:
        wrong = _WRONG.get(error.reason, f"both files must be PEM ({error.reason or error})")
        message = f"{certificate.file} and {certificate.key} cannot be used for TLS: {wrong}"
        raise ServeFailed(message, hint="the certificate (chain) and its private key, both PEM") from error
    except OSError as error:
        raise ServeFailed(f"cannot read the certificate or its key: {error.strerror or error}") from error


_WRONG = {"KEY_VALUES_MISMATCH": "the key is another certificate's"}


class Listener:
    """A socket that listens. `address` has the port that was given to port 0. Raises ServeFailed."""

    def __init__(self, wanted: Address, surfaces: frozenset[Surface] = EVERYTHING) -> None:
        self.surfaces = surfaces
        self.sock = _unix_socket(wanted.path) if wanted.path else _bind(wanted.host, wanted.port)
        self.address = wanted if wanted.path else _found(self.sock, wanted)

    def close(self) -> None:
        """Stop listening; a Unix socket leaves no file behind."""
        self.sock.close()
        if self.address.path:
            Path(self.address.path).unlink(missing_ok=True)


def merged(wanted: Sequence[tuple[Address, Surface]]) -> list[tuple[Address, frozenset[Surface]]]:
    """What is wanted at the same address is served there together. Port 0 is another one each time."""
    found: dict[Any, tuple[Address, frozenset[Surface]]] = {}
    for address, surface in wanted:
        key = address if address.path or address.port else surface
        _, others = found.get(key, (address, frozenset()))
        found[key] = address, others | {surface}
    return [*found.values()]


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return _listening(socket.socket(family, kind, proto), address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ServeFailed(
                f"{host}:{port} is taken by another program", hint="`--port 0` picks a free port"
            ) from error
        raise ServeFailed(f"cannot listen on {host}:{port}: {error.strerror or error}") from error


def _unix_socket(path: str) -> socket.socket:
    try:
        _remove_left_behind(path)
        return _listening(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), path)
    except OSError as error:
        raise ServeFailed(f"cannot listen on unix:{path}: {error.strerror or error}") from error


def _listening(sock: socket.socket, address: Any) -> socket.socket:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _found(sock: socket.socket, wanted: Address) -> Address:
    host, port = sock.getsockname()[:2]
    return replace(wanted, host=host, port=port)


def _remove_left_behind(path: str) -> None:
    """A socket's file outlives a server that was killed; one that nobody answers at goes."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                Path(path).unlink()
