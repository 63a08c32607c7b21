"""How much memory the bodies of requests may take together: a queue is short, but its rows may be large, and there is
no queue for bodies that are still arriving.

Small bodies are not counted. There are as many as connections and places in queues, and counting would cost each
request more than it saves.
"""

from __future__ import annotations

from runner.frontend.bodies import Message, Receive

#: Bytes up to which a body is small.
SMALL = 65_536
#: So many bodies of the largest size are held at once.
_LARGEST_AT_ONCE = 16


class NoMemory(Exception):
    """The bodies that are held leave no room for this one."""


class BodyMemory:
    """Bytes of bodies that are held. `largest`: of one body."""

    def __init__(self, largest: int) -> None:
        self.limit = _LARGEST_AT_ONCE * largest
        self.held = 0


class Hold:
    """One body's share, from its first byte until its request is answered."""

    __slots__ = ("_memory", "_size")

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._size = 0

    def grow(self, size: int) -> None:
        """The body has so many bytes by now. Raises NoMemory."""
        if size <= SMALL:
            return
        more = size - self._size
        if self._memory.held + more > self._memory.limit:
            raise NoMemory
        self._memory.held += more
        self._size = size

    def end(self) -> None:
        """The body is held no more."""
        self._memory.held -= self._size
        self._size = 0

    def counting(self, receive: Receive) -> Receive:
        """The same `receive`; it raises NoMemory for a piece of the body that there is no room for."""
        size = 0

        async def receives() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            self.grow(size)
            return message

        return receives
