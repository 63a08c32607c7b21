"""Tensors inside whatever a model takes and returns: nested dicts, lists, tuples, model outputs, dataclasses.

Rules of the room
1. A container comes back as its own type: a Hugging Face `ModelOutput`, a named tuple, a `BatchEncoding`.
2. What holds nothing that changed comes back as the very same object; inputs are never changed in place.
3. What is none of these (a cache object, a string, None) passes through untouched.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any

import torch

Convert = Callable[[torch.Tensor], torch.Tensor]


def mapped(value: Any, convert: Convert) -> Any:
    """`value` with `convert` applied to every tensor in it."""
    if isinstance(value, torch.Tensor):
        return convert(value)
    if isinstance(value, Mapping):
        return _mapping(value, convert)
    if isinstance(value, list | tuple):
        return _sequence(value, convert)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dataclass(value, convert)
    return value


def tensors_in(value: Any) -> list[torch.Tensor]:
    """Every tensor in `value`, in the order of its containers."""
    return list(_walk(value))


def _walk(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
        return
    for part in _parts(value):
        yield from _walk(part)


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, list | tuple):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return ()


def _mapping(value: Mapping[Any, Any], convert: Convert) -> Mapping[Any, Any]:
    new = {key: mapped(part, convert) for key, part in value.items()}
    if all(new[key] is part for key, part in value.items()):
        return value
    if type(value) is dict or not isinstance(value, MutableMapping):
        return new
    twin = copy.copy(value)
    for key, part in new.items():
        twin[key] = part
    return twin


def _sequence(value: list[Any] | tuple[Any, ...], convert: Convert) -> Any:
    new = [mapped(part, convert) for part in value]
    if all(after is before for after, before in zip(new, value, strict=True)):
        return value
    if hasattr(value, "_make"):
        return value._make(new)
    return type(value)(new)


def _dataclass(value: Any, convert: Convert) -> Any:
    old = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    new = {name: mapped(part, convert) for name, part in old.items()}
    if all(new[name] is part for name, part in old.items()):
        return value
    twin = copy.copy(value)
    for name, part in new.items():
        object.__setattr__(twin, name, part)  # frozen dataclasses too: the twin is ours alone
    return twin
