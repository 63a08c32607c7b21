"""How the words of a command line become a goal and a space. Pure; raises UsageError, with what can be typed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from math import inf
from typing import TypeVar

from archiver.errors import UsageError
from runner.tune.facts import Goal
from runner.tune.settings import formats
from runner.tune.space import Wanted

T = TypeVar("T")

DEVICES = ("cpu", "cuda", "mps")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_TIME = re.compile(r"([0-9]*\.?[0-9]+)\s*([a-z]*)")
_COMPILE = {"off": False, "on": True}


def seconds(option: str, text: str, example: str) -> float:
    """`100ms`, `1.5s`, `10m`, `1h` as seconds."""
    found = _TIME.fullmatch(text.strip().lower())
    value = float(found[1]) * _UNITS.get(found[2], -1.0) if found else -1.0
    if not 0 < value < inf:
        units = "a number above 0 with its unit (ms, s, m or h)"
        raise UsageError(f"{option} {text}: expected {units}", hint=f"{option} {example}")
    return value


def goal(objective: str, sla: str | None, concurrency: str | None, rate: float | None) -> Goal:
    """What counts as best, and at which load."""
    limit = None if sla is None else seconds("--sla-p99", sla, "100ms") * 1000
    levels = None if concurrency is None else numbers("--concurrency", concurrency)
    if rate is not None and levels is not None:
        raise UsageError("--concurrency is a closed loop, --rate an open one", hint="give one of them")
    if rate is not None and objective == "throughput":
        hint = f"--objective latency --rate {rate:g} finds the lowest p99 at that load, cost the cheapest"
        raise UsageError("at a given --rate each configuration that keeps up has the same throughput", hint=hint)
    if objective == "latency" and rate is None:
        levels = levels or (1,)
    return Goal(objective, limit, levels, rate)


def wanted(
    devices: str | None,
    precisions: str | None,
    compiled: str | None,
    batch_sizes: str | None,
    workers: str | None,
    threads: str | None,
) -> Wanted:
    """What is named of the space."""
    return Wanted(
        devices=_words("--devices", devices, DEVICES, {"gpu": "cuda"}),
        precisions=_words("--precisions", precisions, formats(), {}),
        compiled=_given(_words("--compile", compiled, tuple(_COMPILE), {}), lambda word: _COMPILE[word]),
        batch_sizes=_maybe_numbers("--batch-sizes", batch_sizes),
        workers=_maybe_numbers("--workers", workers),
        threads=_maybe_numbers("--threads", threads),
    )


def numbers(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers from 1 on, with commas."""
    parts = _parts(text)
    if not parts or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"{option} {text}: expected whole numbers from 1 on with commas", hint=f"{option} 1,2,4")
    return tuple(dict.fromkeys(map(int, parts)))


def _maybe_numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    return None if text is None else numbers(option, text)


def _words(
    option: str, text: str | None, known: Sequence[str], other_names: dict[str, str]
) -> tuple[str, ...] | None:
    if text is None:
        return None
    found = [other_names.get(part.lower(), part.lower()) for part in _parts(text)]
    wrong = next((each for each in found if each not in known), None)
    if wrong is not None or not found:
        near = get_close_matches(wrong or "", known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"{option} {','.join(known[:2])}"
        raise UsageError(f"{option} {text}: expected {', '.join(known)}, with commas between several", hint=hint)
    return tuple(dict.fromkeys(found))


def _given(words: tuple[str, ...] | None, of: Callable[[str], T]) -> tuple[T, ...] | None:
    return None if words is None else tuple(map(of, words))


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
