"""What the head of a request, its first line and its headers, may be. Pure.

llhttp is strict about the shapes that smuggle requests: two lengths, a length beside chunks, folded lines, bare line
feeds. What it lets pass and we do not do is refused here, before anybody takes a part of it for something else.
"""

from __future__ import annotations

#: Bytes of a head, and how many headers it has. TorchServe's Netty takes 8 kB; cookies and traces need more.
LARGEST_HEAD = 65_536
MOST_HEADERS = 200

_Headers = list[tuple[bytes, bytes]]


class Growth:
    """How much of a head has come, over the pieces in which it comes."""

    __slots__ = ("_first", "_further")

    def __init__(self) -> None:
        self._first = self._further = 0

    def is_endless(self, size: int, *, begun: bool) -> bool:
        """A piece of so many bytes comes; `begun`: a head was begun by those before it, and is not complete."""
        if begun:
            self._further += size
        else:
            self._first, self._further = size, 0
        return self._further > LARGEST_HEAD

    @property
    def most(self) -> int:
        """A complete head has no more bytes than this."""
        return self._first + self._further


def is_large(url: bytes, headers: _Headers, growth: Growth) -> bool:
    """Whether a complete head has too many bytes or headers."""
    if len(headers) > MOST_HEADERS:
        return True
    if growth.most <= LARGEST_HEAD:
        return False
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
