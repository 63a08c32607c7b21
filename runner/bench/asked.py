"""What a bench is asked for, and how the words of a command line become it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

from archiver.errors import UsageError
from archiver.store import unpack
from runner.asking import Target, target_of
from runner.bench.sender import Way

CONCURRENCY = "1,16,64"


@dataclass(frozen=True, slots=True)
class Asked:
    """One bench. `arguments` and `flags`: the same settings for the server's command line and as config values;
    `url`: a server that runs already."""

    archive: Path | None
    url: Target | None
    ways: tuple[Way, ...]
    repeats: int
    input: Path | None
    content_type: str | None
    headers: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)
    trust: bool = False
    limit: bool = True


def target_at(url: str | None, archive: Path | None) -> Target | None:
    """Where a running server answers for the model. Raises UsageError."""
    if url is None:
        if archive is None:
            raise UsageError("nothing to measure", hint="archive bench model.mar, or --url URL --input FILE")
        return None
    target = target_of(url if "://" in url else f"http://{url}", "", 0, None)
    if target.scheme != "http":
        raise UsageError("the load generator speaks plain HTTP only", hint="--url http://…")
    if target.path != "/":
        return target
    if archive is None:
        raise UsageError(f"{url} does not say which model", hint=f"--url {target.address}/predictions/NAME")
    return replace(target, path=f"/predictions/{unpack(archive).manifest.model_name}")


def ways_of(concurrency: str | None, rate: str | None, common: Way) -> tuple[Way, ...]:
    """A level for each number; CONCURRENCY when there is none. Raises UsageError."""
    if concurrency is None and rate is None:
        concurrency = CONCURRENCY
    if rate is not None and common.count is not None:
        raise UsageError("--requests is for a closed loop; an open one lasts --duration")
    closed = [replace(common, concurrency=int(each)) for each in _numbers("--concurrency", concurrency, int)]
    return (*closed, *(replace(common, rate=each) for each in _numbers("--rate", rate, float)))


def _numbers(option: str, text: str | None, kind: type[int] | type[float]) -> list[float]:
    if text is None:
        return []
    try:
        found = [kind(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if not found or any(not 0 < each < inf for each in found):
        raise UsageError(f"{option} {text}: expected numbers above 0 with commas", hint=f"{option} {CONCURRENCY}")
    return list(found)


def header_of(text: str) -> tuple[str, str]:
    """Raises UsageError."""
    name, separator, value = text.partition(":")
    if not separator or not name.strip() or "\n" in text or "\r" in text:
        raise UsageError(f"--header {text!r}: expected 'NAME: VALUE'")
    return name.strip(), value.strip()


def serve_arguments(workers: int | None, settings: tuple[str, ...], trust: bool) -> tuple[str, ...]:
    """For `archive serve`."""
    count = [] if workers is None else ["--workers", str(workers)]
    sets = [word for setting in settings for word in ("--set", setting)]
    return (*count, *sets, *(["--trust"] if trust else []))
