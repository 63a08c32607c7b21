"""`--set KEY=VALUE` and named options → config values, checked as a file's are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archiver.config.source import read_source
from archiver.config.validate import check_values
from archiver.errors import InvalidInput, UsageError


def _set_key(values: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UsageError(f"--set {path}: {parent} is not a mapping")
    values[last] = value


def overrides(named: Mapping[str, Any], settings: tuple[str, ...]) -> dict[str, Any]:
    """The config keys that the command line sets, checked like a config file. Raises InvalidInput, UsageError."""

    values: dict[str, Any] = {}
    for path, value in named.items():
        _set_key(values, path, value)
    for setting in settings:
        path, separator, text = setting.partition("=")
        if not separator:
            raise UsageError(f"--set {setting}: expected KEY=VALUE", hint="--set pt2.compile.enable=false")
        _set_key(values, path, read_source(f"value: {text}", "--set").values.get("value"))
    errors = [finding for finding in check_values(values, "command line") if finding.is_error]
    if errors:
        raise InvalidInput(errors, spared="nothing was started")
    return values
