"""Layers of settings → the value that holds, and where it came from. Resolved once, at the border.

command line flag > management API > YAML's device block > YAML > server config > the schema's default
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from archiver.config.forms import normal_form
from archiver.config.schema import Schema, complete, load, properties

#: A setting that chooses among the others; it holds nothing itself.
_DEVICES = "devices"
_ALIASES = {"cuda": ("gpu", "cuda")}


class Origin(Enum):
    """Where a setting came from, strongest first."""

    FLAG = "flag"
    API = "api"
    DEVICE = "device override"
    YAML = "yaml"
    SERVER = "server config"
    DEFAULT = "default"


@dataclass(frozen=True)
class Effective:
    """`values`: complete and nested, defaults included. `origins`: the origin of each leaf by its dotted key."""

    values: dict[str, Any]
    origins: dict[str, Origin]

    def describe(self) -> list[dict[str, Any]]:
        """One row per setting, in the schema's order: key, value, origin."""
        order = {key: rank for rank, key in enumerate(_keys(load("model-config"), ""))}
        keys = sorted(self.origins, key=lambda key: order.get(key, len(order)))
        return [{"key": key, "value": _at(self.values, key), "origin": self.origins[key].value} for key in keys]


def effective(layers: Mapping[Origin, Mapping[str, Any]], device: str | None = None) -> Effective:
    """Lay the layers over each other, strongest on top, each in any spelling that the schema accepts.

    `device` ("cpu", "cuda", "cuda:1", "mps") selects the block of YAML's `devices`. Values are taken as they are:
    check them first (`validate`).
    """
    stack = {origin: normal_form(layer) for origin, layer in layers.items()}
    if device is not None and Origin.DEVICE not in stack:
        stack[Origin.DEVICE] = _for_device(stack.get(Origin.YAML, {}), device)
    schema = load("model-config")
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for origin in reversed(Origin):
        layer = {key: value for key, value in stack.get(origin, {}).items() if key != _DEVICES}
        _lay(values, layer, schema, origin, origins, "")
    complete_values = complete(schema, values)
    _mark_defaults(complete_values, schema, origins, "")
    return Effective(complete_values, origins)


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two layers in nested form as one: mappings with known keys are merged, everything else is replaced."""
    values: dict[str, Any] = {}
    for layer in (below, above):
        _lay(values, layer, load("model-config"), Origin.YAML, {}, "")
    return values


def _for_device(yaml: Mapping[str, Any], device: str) -> dict[str, Any]:
    name = device.partition(":")[0]
    name = "cuda" if name == "gpu" else name
    blocks = yaml.get(_DEVICES) or {}
    values: dict[str, Any] = {}
    for alias in _ALIASES.get(name, (name,)):
        values = laid_over(values, blocks.get(alias) or {})
    return values


def _lay(
    values: dict[str, Any],
    layer: Mapping[str, Any],
    schema: Schema,
    origin: Origin,
    origins: dict[str, Origin],
    prefix: str,
) -> None:
    known = properties(schema)
    for key, value in layer.items():
        name = f"{prefix}{key}"
        if key in known and properties(known[key]) and isinstance(value, Mapping):
            inner = values.get(key)
            values[key] = dict(inner) if isinstance(inner, Mapping) else {}
            origins.pop(name, None)
            _lay(values[key], value, known[key], origin, origins, f"{name}.")
        else:
            _forget(origins, name)
            values[key] = value
            origins[name] = origin


def _forget(origins: dict[str, Origin], name: str) -> None:
    """A whole block is replaced: what was known about its parts no longer holds."""
    for key in [key for key in origins if key == name or key.startswith(f"{name}.")]:
        del origins[key]


def _mark_defaults(values: Mapping[str, Any], schema: Schema, origins: dict[str, Origin], prefix: str) -> None:
    known = properties(schema)
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key in known and properties(known[key]) and isinstance(value, Mapping):
            _mark_defaults(value, known[key], origins, f"{name}.")
        else:
            origins.setdefault(name, Origin.DEFAULT)


def _keys(schema: Schema, prefix: str) -> Iterator[str]:
    """The dotted keys of a schema, in its order."""
    for key, inner in properties(schema).items():
        yield f"{prefix}{key}"
        yield from _keys(inner, f"{prefix}{key}.")


def _at(values: Any, dotted: str) -> Any:
    """A key of the user's own may have dots in it, so the longest known name goes first."""
    while dotted not in values:
        head, _, dotted = dotted.partition(".")
        values = values[head]
    return values[dotted]
