"""The JSON of `models` and `model_snapshot` in a config.properties: model → version → how to serve it.

{"noop": {"1.0": {"marName": "noop.mar", "defaultVersion": true, "minWorkers": 1, "batchSize": 4, …}}}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: What is said of a version that is a config key here, too.
_CONFIG_KEYS = (
    *("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay"),
    *("responseTimeout", "startupTimeout", "parallelType"),
)
_VERSION_KEYS = {*_CONFIG_KEYS, "marName", "defaultVersion", "runtimeType", "parallelLevel", "timeout", "handler"}


@dataclass(frozen=True, slots=True)
class ModelDefaults:
    """One version: `file` in the model store, whether it is the default, config keys. `workers`: 0 where a
    snapshot says that there were none, which no config key can say."""

    name: str
    version: str
    file: str | None
    is_default: bool
    values: Mapping[str, Any]
    workers: int | None = None


def models_of(document: Any, *, snapshot: bool) -> list[ModelDefaults]:
    """Raises ValueError, which says what was expected where."""
    if snapshot:
        document = _mapping(document, "the snapshot").get("models", {})
    return [
        _version(name, version, facts, snapshot=snapshot)
        for name, versions in _mapping(document, "models").items()
        for version, facts in _mapping(versions, name).items()
    ]


def _version(name: str, version: str, facts: Any, *, snapshot: bool) -> ModelDefaults:
    facts = _mapping(facts, f"{name} {version}")
    unknown = [key for key in facts if key not in _VERSION_KEYS]
    if unknown:
        raise ValueError(f"{name} {version}: there is no setting {unknown[0]}")
    if snapshot and not isinstance(facts.get("marName"), str):
        raise ValueError(f"{name} {version}: marName is missing")
    values = {key: facts[key] for key in _CONFIG_KEYS if facts.get(key) is not None}
    workers = None
    if snapshot and not values.get("minWorkers"):
        workers = values.pop("minWorkers", None)
        values.pop("maxWorkers", None)
    return ModelDefaults(name, version, facts.get("marName"), bool(facts.get("defaultVersion")), values, workers)


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what}: expected {{…}}, not {type(value).__name__}")
    return value
