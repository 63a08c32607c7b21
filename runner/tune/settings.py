"""A candidate as config values: what `archive serve` is told, and what a config file says. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from archiver.config.schema import load, properties
from runner.tune.space import Candidate, Variant

QUEUE = "jobQueueSize"
_DEVICES = {"cpu": "cpu", "cuda": "gpu", "mps": "mps"}


def formats() -> tuple[str, ...]:
    """The words that `--precisions` takes: number formats, and schemes of quantisation."""
    words = load("model-config")["properties"]["precision"]["anyOf"][0]["enum"]
    return (*(word for word in words if word != "auto"), *_schemes())


def _schemes() -> tuple[str, ...]:
    scheme = properties(properties(load("model-config"))["quantization"])["scheme"]
    return tuple(scheme["enum"])


def is_scheme(precision: str) -> bool:
    """Whether it is a scheme of `quantization` and no number format."""
    return precision in _schemes()


def of_variant(variant: Variant, *, own_device: str, compiles: bool) -> dict[str, Any]:
    """Dotted key → value, of what differs from the archive's own config: its device here, and whether it compiles."""
    values: dict[str, Any] = {}
    if variant.device != own_device:
        values["deviceType"] = _DEVICES[variant.device]
    if variant.precision is not None:
        values["quantization.scheme" if is_scheme(variant.precision) else "precision.dtype"] = variant.precision
    if variant.compiled or compiles:
        values["pt2.compile.enable"] = variant.compiled
    return values


def of_candidate(candidate: Candidate, *, own_device: str, compiles: bool) -> dict[str, Any]:
    """All that a config says of it."""
    return {
        "minWorkers": candidate.workers,
        "maxWorkers": candidate.workers,
        "threads.intraOp": candidate.variant.threads,
        "batchSize": candidate.batch_size,
        **of_variant(candidate.variant, own_device=own_device, compiles=compiles),
    }


def room(at_a_time: int | None, own: int) -> dict[str, Any]:
    """What the config says so that so many at a time find room in the queue. That many are none too many: what waits
    too long is for the limit on the p99 to say. Nothing for an open loop, which has no such number."""
    return {QUEUE: at_a_time} if at_a_time is not None and at_a_time > own else {}


def nested(dotted: Mapping[str, Any]) -> dict[str, Any]:
    """`{"pt2.compile.enable": True}` → `{"pt2": {"compile": {"enable": True}}}`."""
    values: dict[str, Any] = {}
    for path, value in dotted.items():
        *parents, last = path.split(".")
        inner = values
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = value
    return values


def words_of(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """What `--set` is given for nested values: `pt2.compile.enable=true`."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value and not any("." in inner for inner in value):
            yield from words_of(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={json.dumps(value)}"
