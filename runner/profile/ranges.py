"""The stages of a handler, the forward of its module and the module's parts, as spans while a pass runs.

They become spans by standing in for methods of the very objects, so nothing in the serving path knows of it. Hooks
would be seen: torch takes other ways through layers that have some.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from runner.optimize.guarded import guard_of
from runner.profile.figures import FORWARD, STAGES
from runner.worker.session import Session

Span = Callable[[str], AbstractContextManager[Any]]


@contextmanager
def ranges(session: Session, span: Span, *, apart: bool = False) -> Iterator[None]:
    """While it lasts, the stages and forward are spans; the module's parts too, if wanted and possible (`apart`)."""
    module = session.module
    with ExitStack() as stack:
        for name in STAGES:
            stack.enter_context(instead(session.handler, name, _within(span, name)))
        if module is not None:
            stack.enter_context(instead(module, "forward", _within(span, FORWARD)))
            if apart and why_not_apart(module) is None:
                for path, part in module.named_modules():
                    name = f"{path} {type(part).__name__}"
                    stack.enter_context(instead(part, "forward", _within(span, name)) if path else ExitStack())
        yield


def why_not_apart(module: nn.Module | None) -> str | None:
    """Why the module's parts have no spans of their own."""
    if module is None:
        return "the handler exposes no torch module: the model is not told from the rest of inference"
    if isinstance(module, torch.jit.ScriptModule):
        return "a TorchScript model is not taken apart"
    if guard_of(module) is not None:
        return "compiled code is one piece: what it computes itself is forward's own time"
    return None


@contextmanager
def instead(owner: Any, method: str, around: Callable[[Any], Any]) -> Iterator[None]:
    """`owner.method` is `around(owner.method)`. What is no plain method of a Python object stays as it is."""
    own = getattr(owner, method, None)
    if not callable(own) or inspect.iscoroutinefunction(own) or isinstance(owner, torch.jit.ScriptModule):
        yield
        return
    before = vars(owner).get(method)
    # The wrapped one keeps the attributes, by which the edge of an optimised module is found.
    setattr(owner, method, functools.wraps(own)(around(own)))
    try:
        yield
    finally:
        if before is None:
            delattr(owner, method)
        else:
            setattr(owner, method, before)


def _within(span: Span, name: str) -> Callable[[Any], Any]:
    def around(own: Any) -> Any:
        def within(*args: Any, **kwargs: Any) -> Any:
            with span(name):
                return own(*args, **kwargs)

        return within

    return around
