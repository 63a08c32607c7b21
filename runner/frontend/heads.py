"""What the head of a request, its first line and its headers, may be. Pure.

llhttp is strict about the shapes that smuggle requests: two lengths, a length beside chunks, folded lines, bare line
feeds. What it lets pass and we do not do is refused here, before anybody takes a part of it for something else.
"""

from __future__ import annotations

#: Bytes of a head, and how many headers it has. TorchServe's Netty takes 8 kB; cookies and traces need more.
LARGEST_HEAD = 65_536
MOST_HEADERS = 200

_Headers = list[tuple[bytes, bytes]]


def is_large(url: bytes, headers: _Headers) -> bool:
    """Whether a complete head has too many bytes or headers."""
    if len(headers) > MOST_HEADERS:
        return True
    return len(url) + sum(len(name) + len(value) + 4 for name, value in headers) > LARGEST_HEAD


def fault(headers: _Headers, *, upgrades: bool) -> str | None:
    """Why a complete head is refused. `upgrades`: it asks for another protocol, and the parser listens to that."""
    for name, value in headers:
        if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
            return "The only Transfer-Encoding here is chunked."
        if upgrades and (name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))):
            # The parser takes the body for the other protocol's.
            return "A request with a body cannot ask for another protocol (Upgrade)."
    return None
