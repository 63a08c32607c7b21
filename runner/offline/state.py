"""The state dict in a checkpoint: read by torch's `weights_only` list alone, and picked out of what lies around it.

No process that asks here trusts the file: what the list does not allow is named and never run.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from archiver.errors import ArchiveError
from archiver.scan.scan import scan_files
from runner.handlers.errors import CannotLoad
from runner.handlers.weights import read_state, unpickled
from runner.offline.as_safetensors import described, is_state, unfit

#: Entries that a sentence names.
_SHOWN = 8


class CannotConvert(ArchiveError):
    """The weights cannot become safetensors as they are. Nothing was written."""

    code = "convert/failed"


@dataclass(frozen=True, slots=True)
class Wanted:
    """`key`: of a checkpoint that holds more than its weights, where they are. `tensors_only`: what is no tensor may
    be left out."""

    key: str | None = None
    tensors_only: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """What fits into safetensors. `left_out`: the rest, each name with what it is."""

    tensors: Mapping[str, Tensor]
    left_out: Mapping[str, str] = field(default_factory=dict)


def read_mapping(file: Path) -> Mapping[str, Any]:
    """What a weight file maps its names to. Raises CannotLoad, also for more than torch's list allows."""
    held = _held(file)
    if not isinstance(held, Mapping):
        raise CannotLoad(f"{file.name} holds a {type(held).__name__}, not a state dict")
    return held


def _held(file: Path) -> Any:
    refused = scan_files(file, [(file.name, file)]).refused
    if refused:
        wants = "; ".join(each.wants() for each in refused[:_SHOWN])
        beyond = any(what.module for each in refused for what in each.refused)
        problem = "wants more than torch's weights_only list allows" if beyond else "cannot be looked into"
        raise CannotLoad(f"{file.name} {problem}: {wants}")
    try:
        return read_state(file) if file.suffix == ".safetensors" else unpickled(file)
    except pickle.UnpicklingError as error:
        raise CannotLoad(f"torch's weights_only loading refuses {file.name}: {_first_line(error)}") from error
    except Exception as error:  # torch raises whatever a damaged file leads to
        raise CannotLoad(f"{file.name} cannot be read: {_first_line(error)}") from error


def state_in(file: Path, wanted: Wanted) -> State:
    """The checkpoint's state dict, as wanted. Raises CannotConvert."""
    try:
        held = read_mapping(file)
    except CannotLoad as error:
        hint = f"`archive scan {file}` shows what is in it; where you trust it, save its state_dict() alone"
        raise CannotConvert(str(error), hint=hint) from error
    outside: dict[str, str] = {}
    if wanted.key is not None:
        held, outside = _under(held, wanted.key, file.name)
    tensors = {str(name): value for name, value in held.items() if isinstance(value, Tensor)}
    rest = {str(name): described(value) for name, value in held.items() if not isinstance(value, Tensor)}
    if rest and (not wanted.tensors_only or any(map(is_state, held.values()))):
        raise _more_than_tensors(file, held, rest, wanted)
    _require_fit(file, held)
    if not tensors:
        raise CannotConvert(f"{file.name} holds no tensor")
    return State(tensors, {**outside, **rest})


def _under(held: Mapping[str, Any], key: str, file: str) -> tuple[Mapping[str, Any], dict[str, str]]:
    """What is under the key, and what is beside it."""
    found = held.get(key)
    if not isinstance(found, Mapping):
        problem = f"has {described(found)} under `{key}`" if key in held else f"has no `{key}`"
        raise CannotConvert(f"{file} {problem}; it holds {_listed(held)}", hint=_keys(held))
    return found, {str(name): described(value) for name, value in held.items() if name != key}


def _more_than_tensors(file: Path, held: Mapping[str, Any], rest: Mapping[str, str], wanted: Wanted) -> CannotConvert:
    """The error, with the way out that fits: the state dict inside, or only the tensors."""
    where = f"`{wanted.key}` of {file.name}" if wanted.key is not None else file.name
    if any(is_state(value) for value in held.values()):
        hint = _keys(held) if wanted.key is None else "load it, and save the state_dict() alone"
        return CannotConvert(f"{where} is no state dict by itself; it holds {_listed(held)}", hint=hint)
    named = ", ".join(f"{name} ({what})" for name, what in _some(rest.items()))
    return CannotConvert(f"{where} holds more than tensors: {named}", hint="`--tensors-only` leaves that out")


def _require_fit(file: Path, held: Mapping[str, Any]) -> None:
    """Tensors are never left out."""
    problems = {name: unfit(name, value) for name, value in held.items() if isinstance(value, Tensor)}
    wrong = [f"{name} {problem}" for name, problem in problems.items() if problem]
    if wrong:
        more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise CannotConvert(f"safetensors cannot hold {file.name}: {'; '.join(_some(wrong))}{more}")


def _listed(held: Mapping[str, Any]) -> str:
    more = f" and {len(held) - _SHOWN} more" if len(held) > _SHOWN else ""
    return ", ".join(f"{name} ({_kind(value)})" for name, value in _some(held.items())) + more


def _kind(value: Any) -> str:
    return "a tensor" if isinstance(value, Tensor) else described(value)


def _keys(held: Mapping[str, Any]) -> str | None:
    """What to type for each state dict that is there."""
    found = [str(name) for name, value in held.items() if is_state(value)]
    return " or ".join(f"`--key {name}`" for name in _some(found)) + " takes that part alone" if found else None


def _some(items: Iterable[Any]) -> list[Any]:
    return [*items][:_SHOWN]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
