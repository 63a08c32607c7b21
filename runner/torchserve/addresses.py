"""Addresses as TorchServe writes them: `http://host:port`, `https://…`, `unix:/path`."""

from __future__ import annotations

from urllib.parse import urlsplit

from runner.frontend.listener import Address

_PORTS = {"http": 80, "https": 443}


def address_of(text: str) -> Address:
    """Raises ValueError, which says what was expected."""
    if text.startswith("unix:"):
        path = text[len("unix:") :]
        if not path.startswith("/"):
            raise ValueError("a socket's path is absolute: unix:/run/inference.sock")
        return Address(path=path)
    url = urlsplit(text)
    if url.scheme not in _PORTS or not url.hostname:
        raise ValueError("an address is http://HOST:PORT, https://HOST:PORT or unix:/PATH")
    if url.path not in ("", "/") or url.query:
        raise ValueError("an address has no path")
    port = url.port
    return Address(url.hostname, _PORTS[url.scheme] if port is None else port, secure=url.scheme == "https")
