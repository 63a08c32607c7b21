"""Bytes of a connection → the status of the answer, once it is whole.

Strategy: most answers come in one piece with their length in the head, and finding that takes four searches in C.
Everything else (pieces, chunks, answers that end with the connection) goes to httptools.
"""

from __future__ import annotations

import httptools

_LENGTH = b"\r\ncontent-length: "
_WAY = len(_LENGTH)


class Malformed(Exception):
    """What came is no HTTP answer."""


class Reader:
    """The answers on one connection, one after the other."""

    __slots__ = ("_answer", "keeps_alive")

    def __init__(self) -> None:
        self._answer: _Answer | None = None
        self.keeps_alive = True

    def feed(self, data: bytes) -> int | None:
        """The status when the answer is whole, else None. Raises Malformed."""
        if self._answer is None:
            status = _whole(data)
            if status is not None:
                return status
            self._answer = _Answer()
        answer = self._answer
        answer.feed(data)
        if answer.status is None:
            return None
        self.keeps_alive = answer.keeps_alive
        self._answer = None
        return answer.status

    def end(self) -> int | None:
        """The connection was closed: the status of the answer that ends with it; None when it is not whole."""
        return None if self._answer is None else self._answer.at_end()


def _whole(data: bytes) -> int | None:
    """The status, when these bytes are exactly one answer in its plainest form."""
    head = data.find(b"\r\n\r\n")
    place = data.find(_LENGTH, 0, head)
    if place < 0 or not data.startswith(b"HTTP/1.1 "):
        return None
    length = data[place + _WAY : data.find(b"\r\n", place + 2)]
    if not length.isdigit() or head + 4 + int(length) != len(data):
        return None
    return None if data.find(b"\r\nconnection: close", 0, head) >= 0 else int(data[9:12])


class _Answer:
    """One answer in pieces. `status` is set when it is whole."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.keeps_alive = True
        self._parser = httptools.HttpResponseParser(self)
        self._has_end = False
        self._has_head = False

    def feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise Malformed(str(error)) from error

    def at_end(self) -> int | None:
        return self._parser.get_status_code() if self._has_head and not self._has_end else None

    def on_header(self, name: bytes, _value: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._has_end = True

    def on_headers_complete(self) -> None:
        self._has_head = True

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:
            self.status = status
            self.keeps_alive = self._parser.should_keep_alive()
