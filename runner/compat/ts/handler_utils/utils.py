"""ts.handler_utils.utils"""

from __future__ import annotations

import importlib
from typing import Any

from runner.handlers.streaming import send_intermediate_predict_response

__all__ = ["import_class", "send_intermediate_predict_response"]


def import_class(class_name: str, module_prefix: str | None = None) -> Any:
    """The class of a dotted name, in `module_prefix` if given. Raises ImportError or AttributeError."""
    module, _, name = class_name.rpartition(".")
    path = ".".join(filter(None, [module_prefix, module]))
    return getattr(importlib.import_module(path), name)
