"""From the schema's dialect to the reader's: mapping, list, whole number; and values that can be typed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from archiver.config.schema import Schema

_NAMES = {
    "integer": ("a whole number", "whole numbers"),
    "number": ("a number", "numbers"),
    "string": ("text", "text"),
    "boolean": ("true or false", "true or false values"),
    "object": ("a mapping", "mappings"),
    "array": ("a list", "lists"),
    "null": ("empty", "empty values"),
}
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*\Z")
_WORDS_WITH_A_TYPE = {"true", "false", "null", "yes", "no", "on", "off"}


def expected(schema: Schema) -> str:
    """What a schema asks for: "a whole number ≥ 1", "one of cpu or gpu", "a list of whole numbers ≥ 0"."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(expected(branch) for branch in schema["anyOf"]))
    if "enum" in schema:
        choices = [typed(choice) for choice in schema["enum"] if choice is not None]
        bare = len(choices) == 1 or True in schema["enum"]
        return any_of(choices) if bare else f"one of {any_of(choices)}"
    kind = _kind(schema)
    if kind == "array" and "items" in schema:
        return f"a list of {_several(schema['items'])}"
    if kind == "string" and "pattern" in schema:
        return f"text {schema['x-pattern']}"
    return _NAMES[kind][0] + _bounds(schema)


def _kind(schema: Schema) -> str:
    """The type that people mean; a null beside it means only that the key may be left empty."""
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return str(kinds[0])


def _several(schema: Schema) -> str:
    if "enum" in schema:
        return any_of([typed(choice) for choice in schema["enum"]])
    return _NAMES[_kind(schema)][1] + _bounds(schema)


def _bounds(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" ≥ {low}"
    if "exclusiveMinimum" in schema:
        return f" > {schema['exclusiveMinimum']}"
    return f" ≤ {high}" if high is not None else ""


def any_of(words: Iterable[str]) -> str:
    """ "a", "a or b", "a, b or c" """
    *front, last = words
    return f"{', '.join(front)} or {last}" if front else last


def shown(value: Any, written: str | None = None) -> str:
    """A value as it is talked about: text in quotes, numbers as written, mappings and lists by their kind."""
    if value is None:
        return "empty"
    if isinstance(value, str):
        return json.dumps(value if len(value) <= 60 else value[:57] + "...", ensure_ascii=False)
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return (written or typed(value))[:60]


def typed(value: Any) -> str:
    """A value as it is typed in YAML, on one line; YAML 1.1 and 1.2 read it the same way."""
    if isinstance(value, str):
        bare = _BARE.match(value) and value.lower() not in _WORDS_WITH_A_TYPE
        return value if bare else json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(typed(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{typed(key)}: {typed(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.8) -> str | None:
    """The known word that was probably meant: the same but for case and separators, or a small slip.

    `cutoff`: how alike two words must be, 0 to 1.
    """
    bare = {_bare(name): name for name in known}
    if _bare(word) in bare:
        return bare[_bare(word)]
    near = get_close_matches(_bare(word), bare, n=1, cutoff=cutoff)
    return bare[near[0]] if near else None


def _bare(word: str) -> str:
    return re.sub(r"[\s_-]", "", word).lower()


def candidates(value: Any, written: str | None, schema: Schema) -> Iterator[Any]:
    """Values that may have been meant, best first; the caller keeps the first that the schema accepts."""
    if isinstance(value, str):
        yield from _from_text(value)
    if isinstance(value, float) and value.is_integer():
        yield int(value)
    if isinstance(value, list) and len(value) == 1:
        yield value[0]
    if isinstance(value, list):
        yield _sorted(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield written
    if not isinstance(value, (dict, list)) and value is not None:
        yield [value]
    yield from schema.get("examples", ())
    if "enum" not in schema:
        yield from (schema[key] for key in ("default", "minimum", "maximum") if schema.get(key) is not None)


def _from_text(text: str) -> Iterator[Any]:
    """What text such as "8", "1_000", "100ms", "yes" or "my model" may stand for."""
    number = re.match(r"\s*(-?[0-9][0-9_]*)(\.[0-9]+)?\s*[A-Za-z]*\s*\Z", text)
    if number and len(text) <= 40:
        digits = number[1].replace("_", "")
        yield float(digits + number[2]) if number[2] else int(digits)
    if text.lower() in {"yes", "on", "true", "y"}:
        yield True
    if text.lower() in {"no", "off", "false", "n"}:
        yield False
    yield text.lower()
    yield re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-")


def _sorted(items: list[Any]) -> list[Any]:
    """Without repetitions, in order where items can be compared."""
    unique = [item for index, item in enumerate(items) if item not in items[:index]]
    numbers = all(isinstance(item, (int, float)) for item in unique)
    return sorted(unique) if numbers else unique
