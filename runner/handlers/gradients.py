"""Whether the work under way needs gradients: an explanation does, a prediction does not.

Compiled code has none, and runs no hooks of the module's layers either. Who stands between a handler and such code
asks `are_needed()` and takes the module's own way, or raises NoGradients where there is no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from runner.handlers.errors import PredictionException

_needed: ContextVar[bool] = ContextVar("gradients are needed", default=False)


class NoGradients(PredictionException):
    """What is asked for needs gradients of a model that has none: 501 with the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"this model cannot be explained: {reason}", 501)


@contextmanager
def needed() -> Iterator[None]:
    """Everything inside is an explanation."""
    token = _needed.set(True)
    try:
        yield
    finally:
        _needed.reset(token)


def are_needed() -> bool:
    """Whether an explanation is under way."""
    return _needed.get()
