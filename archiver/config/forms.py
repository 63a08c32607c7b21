"""The spellings that a value may have, brought to one: the inside knows only the long, nested forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Arguments of torch.compile that TorchServe also takes directly under `pt2`.
FLAT = ("backend", "mode", "dynamic", "fullgraph", "options")
_ANY_CASE = ("deviceType", "parallelType")


def normal_form(values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which every short, flat or old spelling is replaced by the nested one.

    `precision: bf16` → `{dtype: bf16}`; `pt2: inductor` and `pt2: {backend: ...}` → `{compile: {...}}`;
    `jobQueueSize: 0` (TorchServe: the server's default) → absent; `deviceType: GPU` → `gpu`.
    """
    result = dict(values)
    for key in _ANY_CASE:
        if isinstance(result.get(key), str):
            result[key] = result[key].lower()
    if result.get("jobQueueSize") == 0:
        del result["jobQueueSize"]
    if isinstance(result.get("precision"), str):
        result["precision"] = {"dtype": result["precision"]}
    if "pt2" in result:
        result["pt2"] = _pt2(result["pt2"])
    if isinstance(result.get("devices"), Mapping):
        result["devices"] = {
            name: normal_form(inner) if isinstance(inner, Mapping) else inner
            for name, inner in result["devices"].items()
        }
    return result


def _pt2(value: Any) -> Any:
    if isinstance(value, str):
        return {"compile": {"enable": True, "backend": value}}
    if not isinstance(value, Mapping):
        return value
    flat = {key: value[key] for key in FLAT if key in value}
    nested = {key: inner for key, inner in value.items() if key not in FLAT}
    if flat and "compile" not in nested:
        nested["compile"] = {"enable": True, **flat}
    return nested


def written_paths(path: tuple[Any, ...]) -> tuple[tuple[Any, ...], ...]:
    """Where a value of the nested form may stand in the file, the usual place first."""
    if path == ("precision", "dtype"):
        return path, ("precision",)
    if path[:2] == ("pt2", "compile") and path[2:3] and path[2] in FLAT:
        return path, ("pt2", *path[2:]), ("pt2",)
    return (path,)
