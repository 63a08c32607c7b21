"""Does the file have the schema's shape? Errors of jsonschema become findings in the reader's words, with places.

jsonschema is imported when something is validated, not before: it costs more than all of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from archiver.config.findings import Finding, Severity
from archiver.config.schema import Schema, block, load, properties
from archiver.config.source import Path, Source, dotted
from archiver.config.wording import any_of, candidates, expected, nearest, shown, typed

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

#: Code → what it means; `docs/codes.md` is made from it.
CODES = {
    "config/unknown-key": "A key that is not known here. Where handlers may have keys, only a slip is an error.",
    "config/type": "A value of the wrong type. TorchServe logs a warning and ignores the key.",
    "config/range": "A number that is too small or too large.",
    "config/value": "A value that is none of the accepted ones.",
}

#: The schema's word → the code of the finding.
_CODE_OF = {
    "type": "config/type",
    "anyOf": "config/type",
    "enum": "config/value",
    "pattern": "config/value",
    "minLength": "config/value",
    "minItems": "config/value",
    "uniqueItems": "config/value",
    "minimum": "config/range",
    "maximum": "config/range",
    "exclusiveMinimum": "config/range",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A finding and the path of what it is about; `known` is False for keys that nothing here reads."""

    path: Path
    finding: Finding
    known: bool = True


@cache
def _validator(name: str) -> Validator:
    from jsonschema import Draft202012Validator, validators

    # JSON Schema calls 8.0 an integer; TorchServe and people do not.
    checker = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    ours = validators.extend(Draft202012Validator, type_checker=checker)  # type: ignore[no-untyped-call]
    validator: Validator = ours(load(name))
    return validator


def faults(name: str, source: Source) -> Iterator[Fault]:
    """What in `source` does not have the shape of the schema `name`."""
    for error in _validator(name).iter_errors(source.values):
        yield from _explain(error, tuple(error.absolute_path), source, _validator(name))
    yield from _unknown(load(name), source.values, (), source)


def _explain(error: ValidationError, path: Path, source: Source, validator: Validator) -> Iterator[Fault]:
    schema: Schema = error.schema  # type: ignore[assignment]  # a boolean schema is nowhere in ours
    if error.validator == "additionalProperties":
        return  # `_unknown` speaks about these, with a suggestion
    if error.validator == "anyOf":
        branch = _meant(schema, error.instance, validator)
        if branch is not None:
            value: Any = error.instance
            for inner in validator.evolve(schema=branch).iter_errors(value):
                yield from _explain(inner, (*path, *inner.path), source, validator)
            return
    if not _differs_in_case_only(schema, error.instance):
        yield Fault(path, _wrong_value(error, schema, path, source, validator))


def _meant(schema: Schema, value: Any, validator: Validator) -> Schema | None:
    """The branch of an anyOf whose type the value has; None when it has the type of none.

    Among single values alone there is nothing to descend into: the choice as a whole says it better.
    """
    if all(branch.get("type") not in ("object", "array") for branch in schema["anyOf"]):
        return None
    return next((branch for branch in schema["anyOf"] if _has_type(branch, value, validator)), None)


def _has_type(branch: Schema, value: Any, validator: Validator) -> bool:
    if "type" in branch:
        return validator.is_type(value, branch["type"])
    return any(type(choice) is type(value) for choice in branch["enum"])


def _differs_in_case_only(schema: Schema, value: Any) -> bool:
    return "x-any-case" in schema and isinstance(value, str) and value.lower() in schema["enum"]


def _wrong_value(error: ValidationError, schema: Schema, path: Path, source: Source, validator: Validator) -> Finding:
    value, written = error.instance, source.written(path)
    code = _CODE_OF[str(error.validator)]
    if error.validator == "anyOf" and any(_has_type(branch, value, validator) for branch in schema["anyOf"]):
        code = "config/value"
    if source.is_boolean_word(path) and (schema.get("type") == "boolean" or True in schema.get("enum", ())):
        code = "yaml/boolean-word"
    message = _message(error, schema, dotted(path) or "the file", written)
    return Finding(code, Severity.ERROR, source.where(path), message, _hint(value, written, schema, path, validator))


def _message(error: ValidationError, schema: Schema, name: str, written: str | None) -> str:
    value: Any = error.instance
    if error.validator in ("minItems", "minLength"):
        return f"{name} must not be empty"
    if error.validator == "uniqueItems":
        twice = next(item for index, item in enumerate(value) if item in value[:index])
        return f"{name} has {typed(twice)} more than once"
    return f"{name} must be {expected(schema)}, not {shown(value, written)}"


def _hint(value: Any, written: str | None, schema: Schema, path: Path, validator: Validator) -> str | None:
    choices = schema.get("enum") or schema.get("items", {}).get("enum") or ()
    near = nearest(str(value), [choice for choice in choices if isinstance(choice, str)], cutoff=0.6)
    if isinstance(value, str) and near:
        return f"did you mean `{_line(path, near)}`?"
    check = validator.evolve(schema=schema)
    fit = next((c for c in candidates(value, written, schema) if check.is_valid(c)), None)
    return None if fit is None else f"write `{_line(path, fit)}`"


def _line(path: Path, value: Any) -> str:
    return f"{path[-1]}: {typed(value)}" if path and not isinstance(path[-1], int) else typed(value)


def _unknown(schema: Schema, values: Any, path: Path, source: Source) -> Iterator[Fault]:
    """Keys that no schema names, here and in every mapping inside that has known keys."""
    known = properties(schema)
    if not isinstance(values, Mapping) or not known:
        return
    others: Schema | bool | None = block(schema).get("additionalProperties")
    for key, value in values.items():
        if key in known:
            yield from _unknown(known[key], value, (*path, key), source)
            continue
        if isinstance(others, dict):
            yield from _unknown(others, value, (*path, key), source)
        finding = _unknown_key(block(schema), key, path, source)
        if finding is not None:
            yield Fault((*path, key), finding, known=False)


def _unknown_key(schema: Schema, key: Any, path: Path, source: Source) -> Finding | None:
    known = schema["properties"]
    near = nearest(str(key), known)
    where = source.where((*path, key), key=True)
    name = dotted((*path, key))
    if near:
        # An open mapping may have any key, so a slip in one of its smaller blocks is only likely.
        sure = schema.get("x-unknown") != "near"
        severity = Severity.ERROR if sure else Severity.WARNING
        return Finding("config/unknown-key", severity, where, f"{name} is not a known key", f"did you mean `{near}`?")
    if schema.get("additionalProperties") is False:
        current = [name for name, inner in known.items() if not inner.get("deprecated")]
        message = f"{name} is not a known key"
        return Finding("config/unknown-key", Severity.ERROR, where, message, f"known here: {any_of(current)}")
    if schema.get("x-unknown") == "warn":
        message = f"{name} is not a key of the server; a handler may read it, nothing else does"
        return Finding(
            "config/unknown-key", Severity.WARNING, where, message, "new settings of a handler go under `handler:`"
        )
    return None


def without(values: Mapping[Any, Any], bad: set[Path], path: Path = ()) -> dict[Any, Any]:
    """A copy without what is at the `bad` paths: what TorchServe would use of a file with mistakes.

    A list with one bad item goes as a whole, as it does in TorchServe.
    """
    cut = {_up_to_list(path_) for path_ in bad}
    return {
        key: without(inner, cut, (*path, key)) if isinstance(inner, Mapping) else inner
        for key, inner in values.items()
        if (*path, key) not in cut
    }


def _up_to_list(path: Path) -> Path:
    lists = [index for index, part in enumerate(path) if isinstance(part, int) and not isinstance(part, bool)]
    return path[: lists[0]] if lists else path
