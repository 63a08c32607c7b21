"""What a server says about itself on /metrics, before a round and after it → what happened in between. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families

from runner.bench.report import ServerSide

_REQUEST, _QUEUE = "archive_request_seconds", "archive_queue_seconds"
_ROWS, _PHASE = "archive_batch_rows", "archive_phase_seconds"
_RESTARTS = "archive_worker_restarts"
_WHOLE = "handle"


@dataclass(slots=True)
class Snapshot:
    """Sums, counts and buckets of one model's histograms; phases under `archive_phase_seconds:PHASE`. `restarts` of
    its workers."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    buckets: dict[str, dict[str, float]] = field(default_factory=dict)
    restarts: float = 0.0


def snapshot(text: str, model: str) -> Snapshot | None:
    """The model's figures, all its versions together; None when this is no server of ours, or not of this model."""
    found = Snapshot()
    for family in text_string_to_metric_families(text):
        if family.name not in (_REQUEST, _QUEUE, _ROWS, _PHASE, _RESTARTS):
            continue
        for sample in family.samples:
            if sample.labels.get("model_name") == model:
                _add(found, family.name, sample.name, sample.labels, sample.value)
    return found if found.counts else None


def _add(found: Snapshot, family: str, name: str, labels: Mapping[str, str], value: float) -> None:
    if family == _RESTARTS:
        found.restarts += value
        return
    key = f"{family}:{labels['phase']}" if "phase" in labels else family
    if name.endswith("_sum"):
        found.sums[key] = found.sums.get(key, 0.0) + value
    elif name.endswith("_count"):
        found.counts[key] = found.counts.get(key, 0.0) + value
    elif "le" in labels:
        buckets = found.buckets.setdefault(key, {})
        buckets[labels["le"]] = buckets.get(labels["le"], 0.0) + value


def between(before: Snapshot, after: Snapshot) -> ServerSide | None:
    """What the server did; None when it answered nothing."""
    rows = int(_count(before, after, _REQUEST))
    batches = int(_count(before, after, _ROWS))
    if rows <= 0 or batches <= 0:
        return None
    names = [key.partition(":")[2] for key in after.counts if key.startswith(_PHASE)]
    phases = {name: _mean(before, after, f"{_PHASE}:{name}") for name in names}
    handler = phases.pop(_WHOLE, 0.0)
    request, queue = _mean(before, after, _REQUEST), _mean(before, after, _QUEUE)
    return ServerSide(
        rows=rows,
        batches=batches,
        mean_batch=(after.sums[_ROWS] - before.sums.get(_ROWS, 0.0)) / batches,
        batch_sizes={bound: count for bound, count in _own(before, after, _ROWS) if count},
        queue_ms=queue,
        handler_ms=handler,
        handler_quantiles_ms=_quantiles(before, after, f"{_PHASE}:{_WHOLE}"),
        phases_ms=phases,
        request_ms=request,
        other_ms=request - queue - handler,
        restarts=int(after.restarts - before.restarts),
    )


def batches(readings: Sequence[tuple[float, Snapshot]]) -> list[tuple[float, float]]:
    """Mean rows of a batch from one reading to the next, at the moment half way; nothing where there was no batch."""
    found = []
    for (then, before), (now, after) in pairwise(readings):
        count = _count(before, after, _ROWS)
        if count > 0:
            rows = after.sums[_ROWS] - before.sums.get(_ROWS, 0.0)
            found.append(((then + now) / 2, rows / count))
    return found


def _count(before: Snapshot, after: Snapshot, key: str) -> float:
    return after.counts.get(key, 0.0) - before.counts.get(key, 0.0)


def _mean(before: Snapshot, after: Snapshot, key: str) -> float:
    """Milliseconds."""
    count = _count(before, after, key)
    return (after.sums.get(key, 0.0) - before.sums.get(key, 0.0)) / count * 1000 if count else 0.0


def _own(before: Snapshot, after: Snapshot, key: str) -> list[tuple[str, int]]:
    """Upper bounds, rising, each with how many lie between the bound below and it."""
    then, now = before.buckets.get(key, {}), after.buckets.get(key, {})
    bounds = sorted(now, key=float)
    upto = [now[bound] - then.get(bound, 0.0) for bound in bounds]
    own = [int(here - below) for here, below in zip(upto, [0.0, *upto], strict=False)]
    return [
        (bound if bound == "+Inf" else f"{float(bound):g}", count) for bound, count in zip(bounds, own, strict=True)
    ]


def _quantiles(before: Snapshot, after: Snapshot, key: str) -> dict[str, float]:
    """Milliseconds, between the bounds by straight line, as Prometheus' histogram_quantile."""
    own = _own(before, after, key)
    return {f"p{percent}": _quantile(own, percent / 100) for percent in (50, 90, 99)} if own else {}


def _quantile(own: list[tuple[str, int]], share: float) -> float:
    wanted = share * sum(count for _, count in own)
    below, lower = 0, 0.0
    for bound, count in own:
        upper = float(bound)
        if count and below + count >= wanted:
            inside = 0.0 if math.isinf(upper) else (upper - lower) * (wanted - below) / count
            return (lower + inside) * 1000
        below, lower = below + count, upper
    return lower * 1000
