"""The documents in `schemas/`: keys, types, defaults, descriptions, and the options that commands make of them.

The schemas are the only place that spells a default. Their vendor words: `x-unknown` (what an unknown key means in
an open mapping: "warn" or "near"), `x-any-case`, `x-overridable` (may stand under `devices`), `x-layer` (holds
settings for another place, so it has no defaults of its own), `x-flag` (the option of `serve`), `x-section` and
`x-torchserve` (for the documentation), `x-pattern` (the pattern in words).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path as FilePath
from typing import Any

from archiver.resources import resource

Schema = dict[str, Any]
_SUFFIX = ".schema.json"


def names() -> tuple[str, ...]:
    """The schemas that ship: "manifest", "model-config", ..."""
    return tuple(sorted(file.name.removesuffix(_SUFFIX) for file in resource("schemas").glob(f"*{_SUFFIX}")))


def schema_path(name: str) -> FilePath:
    """The file of a schema, for `# yaml-language-server: $schema=` lines."""
    return resource("schemas", name + _SUFFIX)


@cache
def load(name: str) -> Schema:
    """A schema with its references replaced by what they refer to. Shared: do not change it."""
    document = json.loads(schema_path(name).read_text(encoding="utf-8"))
    resolved: Schema = _inlined(document, document)
    return resolved


def _inlined(value: Any, document: Schema) -> Any:
    if isinstance(value, list):
        return [_inlined(item, document) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        target: Any = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return _inlined(target, document)
    return {key: _inlined(inner, document) for key, inner in value.items()}


def block(schema: Schema) -> Schema:
    """The branch of a schema that describes a mapping; the schema itself where there is no choice."""
    return next((branch for branch in schema.get("anyOf", ()) if branch.get("type") == "object"), schema)


def properties(schema: Schema) -> Mapping[str, Schema]:
    """The known keys of a mapping and their schemas; empty for anything else."""
    found: Mapping[str, Schema] = block(schema).get("properties", {})
    return found


def complete(schema: Schema, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with the defaults filled in.

    A block whose default is null stays null unless it is there; an open block (`x-unknown`) or one that is a
    layer of settings stays away.
    """
    result = dict(values)
    for key, inner in properties(schema).items():
        if "x-layer" in inner:
            continue
        if isinstance(result.get(key), Mapping):
            result[key] = complete(inner, result[key])
        elif key not in result and "default" in inner:
            result[key] = deepcopy(inner["default"])
        elif key not in result and properties(inner) and "x-unknown" not in inner:
            result[key] = complete(inner, {})
    return result


@dataclass(frozen=True, slots=True)
class Option:
    """A setting that a command offers as a flag. `path` is where its value goes in a layer of settings."""

    flag: str
    path: tuple[str, ...]
    schema: Schema
    default: Any
    description: str


def options(name: str = "model-config") -> Iterator[Option]:
    """The settings whose schema has a flag, in the schema's order."""
    return _options(load(name), ())


def _options(schema: Schema, path: tuple[str, ...]) -> Iterator[Option]:
    for key, inner in properties(schema).items():
        if "x-flag" in inner:
            yield Option(inner["x-flag"], (*path, key), inner, inner.get("default"), inner["description"])
        if "x-layer" not in inner:
            yield from _options(inner, (*path, key))
