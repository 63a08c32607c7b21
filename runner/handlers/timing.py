"""`@timed` reports how long a handler's method took, if the config says `handler.profile`. TorchServe's."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch

Method = TypeVar("Method", bound=Callable[..., Any])


def timed(func: Method) -> Method:
    """The method, reporting `ts_handler_<name>` in milliseconds when the model's config asks for it."""

    @functools.wraps(func)
    def measured(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _wanted(self.context):
            return func(self, *args, **kwargs)
        started = _now(self)
        result = func(self, *args, **kwargs)
        self.context.metrics.add_time(f"ts_handler_{func.__name__}", (_now(self) - started) * 1000)
        return result

    return measured  # type: ignore[return-value]  # wraps() keeps the signature that mypy cannot see here


def _wanted(context: Any) -> bool:
    settings = context.model_yaml_config.get("handler") if context else None
    return isinstance(settings, dict) and bool(settings.get("profile"))


def _now(handler: Any) -> float:
    # Kernels run on after the call returned: the clock is read when the device is done.
    if getattr(handler.device, "type", "cpu") == "cuda":
        torch.cuda.synchronize(handler.device)
    return time.perf_counter()
