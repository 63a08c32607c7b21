"""How long work tells how far it is. The command line hands in `console.progress`; a library call is silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

#: Called with the number of bytes done since the last call.
Advance = Callable[[int], None]
#: Opened with what is being done and the bytes there are to do.
Progress = Callable[[str, int], AbstractContextManager[Advance]]
#: Opened around work whose end is not known; called with what is being done.
Working = Callable[[], AbstractContextManager[Callable[[str], None]]]


@contextmanager
def silent(_what: str, _total: int) -> Iterator[Advance]:
    """A Progress that shows nothing."""
    yield lambda _: None
