"""Exceptions of user code as what the front end gets: LoadError while loading, wire.Raised while running.

`sys.exit` and Ctrl-C inside a handler are failures like any other here: a worker never dies without a word.
"""

from __future__ import annotations

import asyncio
import pickle
import re
import traceback
from pathlib import Path

from runner import wire
from runner.handlers.errors import CannotLoad, answer_to, out_of_memory, out_of_resources, sticks

#: What user code may raise that must not end the worker. Cancellation of other kinds passes.
USER_FAILURES = (Exception, SystemExit, KeyboardInterrupt)

#: While a batch runs. A handler that cancels its own task ends its batch, nothing else.
BATCH_FAILURES = (*USER_FAILURES, asyncio.CancelledError)

_LINES = 15


class LoadError(Exception):
    """The model cannot be served. `kind`: the exception's class; `trace`: its last lines, the user's code only."""

    def __init__(self, kind: str, message: str, trace: list[str], out_of_memory: bool = False) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message
        self.trace = trace
        self.out_of_memory = out_of_memory


class Memory:
    """Whether this process's memory is used up for good: two batches in a row ran out of it. After one it may have
    been a row that asked for too much; the next batch tells."""

    def __init__(self) -> None:
        self._short = False

    def sufficed(self) -> None:
        """A batch was answered."""
        self._short = False

    def is_used_up(self, error: BaseException) -> bool:
        """Hear what ended a batch; whether the worker is of no more use."""
        before, self._short = self._short, out_of_memory(error)
        return before and self._short


def load_error(error: BaseException, model_dir: Path) -> LoadError:
    """The exception that stopped a load, told for people."""
    if isinstance(error, pickle.UnpicklingError):
        return LoadError("UntrustedPickle", _refused_global(error), [])
    # Our own sentence says it all; a traceback through our code would hide it.
    trace = [] if isinstance(error, CannotLoad) else trace_of(error, model_dir)
    return LoadError(type(error).__name__, sentence(error), trace, out_of_resources(error))


def _refused_global(error: pickle.UnpicklingError) -> str:
    """What torch's weights_only gate refused, without the many lines on how to switch it off."""
    found = re.search(
        r"Unsupported (?:global|class|operand)[^\n]*?(?= was not an allowed| in legacy|\n|$)", str(error)
    )
    what = found.group() if found else str(error).strip().splitlines()[-1]
    return f"a checkpoint wants to run code while it is unpickled, which torch's weights_only mode refuses: {what}"


def raised(batch: int, error: BaseException, model_dir: Path) -> wire.Raised:
    """The exception that stopped a batch, and what its clients are told if it cannot be retried."""
    answer = answer_to(error)
    return wire.Raised(
        batch=batch,
        status=answer.status,
        kind=type(error).__name__,
        message=answer.message,
        trace=trace_of(error, model_dir),
        retire=sticks(error),
    )


def sentence(error: BaseException) -> str:
    """The exception in words; SystemExit and KeyboardInterrupt have none of their own."""
    if isinstance(error, SystemExit):
        return f"the handler called sys.exit({'' if error.code is None else repr(error.code)})"
    return str(error) or type(error).__name__


def trace_of(error: BaseException, model_dir: Path) -> list[str]:
    """The traceback's last lines as Python prints them, from the first frame of the user's own files on."""
    report = traceback.TracebackException.from_exception(error)
    roots = (f"{model_dir}/", f"{model_dir.resolve()}/")
    own = [number for number, frame in enumerate(report.stack) if frame.filename.startswith(roots)]
    # A file that does not compile has no frame of its own; the error itself names file and line.
    start = own[0] if own else len(report.stack) if isinstance(error, SyntaxError) else 0
    report.stack = traceback.StackSummary.from_list(report.stack[start:])
    return "".join(report.format()).rstrip().splitlines()[-_LINES:]
