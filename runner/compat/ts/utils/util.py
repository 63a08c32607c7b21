"""ts.utils.util: what handlers use of it."""

from __future__ import annotations

import functools
import logging
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from runner.handlers.errors import PredictionException
from runner.handlers.labels import load_labels, map_class_to_label
from runner.handlers.modules import classes_defined_in

__all__ = [
    "CLEANUP_REGEX",
    "PredictionException",
    "check_valid_pt2_backend",
    "deprecated",
    "get_yaml_config",
    "list_classes_from_module",
    "load_label_mapping",
    "map_class_to_label",
]

_log = logging.getLogger(__name__)

#: HTML tags and character references, as the text handlers strip them.
CLEANUP_REGEX = re.compile(r"<.*?>|&([a-z0-9]+|#[0-9]{1,6}|#x[0-9a-f]{1,6});")


def check_valid_pt2_backend(backend: str) -> bool:
    """Whether torch.compile knows the backend."""
    import torch

    return backend in torch._dynamo.list_backends(None)


def list_classes_from_module(module: ModuleType, parent_class: type | None = None) -> list[type]:
    """Classes that the module itself defines; with `parent_class`, its subclasses."""
    return classes_defined_in(module, parent_class)


def load_label_mapping(mapping_file_path: str | os.PathLike[str]) -> dict[str, str] | None:
    """Class number as text → name; None, and a warning in the log, without such a file. Raises ValueError."""
    mapping = load_labels(Path(mapping_file_path))
    if mapping is None:
        _log.warning("%s is missing: answers will hold class numbers instead of names", mapping_file_path)
    return mapping


def get_yaml_config(yaml_file_path: str | os.PathLike[str]) -> Any:
    """The values of a YAML file. Raises OSError and yaml.YAMLError."""
    return yaml.safe_load(Path(yaml_file_path).read_text(encoding="utf-8"))


def deprecated(
    version: str, replacement: str = "", klass: type[Warning] = PendingDeprecationWarning
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: each call of the function warns that it went away in `version`, and what replaced it."""

    def deprecating(func: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(func)
        def warned(*args: Any, **kwargs: Any) -> Any:
            instead = f"; use {replacement}" if replacement else ""
            warnings.warn(f"{func.__name__} is deprecated in {version}{instead}", klass, stacklevel=2)
            return func(*args, **kwargs)

        return warned

    return deprecating
