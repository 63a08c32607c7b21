"""What a server says about itself on /metrics, before a round and after it → what happened in between. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from runner.bench.report import ServerSide

_REQUEST, _QUEUE = "archive_request_seconds", "archive_queue_seconds"
_ROWS, _PHASE = "archive_batch_rows", "archive_phase_seconds"
_WHOLE = "handle"


@dataclass(slots=True)
class Snapshot:
    """Sums, counts and buckets of one model's histograms; phases under `archive_phase_seconds:PHASE`."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    buckets: dict[str, float] = field(default_factory=dict)


def snapshot(text: str, model: str) -> Snapshot | None:
    """The model's figures, all its versions together; None when this is no server of ours, or not of this model."""
    found = Snapshot()
    for family in text_string_to_metric_families(text):
        if family.name not in (_REQUEST, _QUEUE, _ROWS, _PHASE):
            continue
        for sample in family.samples:
            if sample.labels.get("model_name") == model:
                _add(found, family.name, sample.name, sample.labels, sample.value)
    return found if found.counts else None


def _add(found: Snapshot, family: str, name: str, labels: Mapping[str, str], value: float) -> None:
    key = f"{family}:{labels['phase']}" if "phase" in labels else family
    if name.endswith("_sum"):
        found.sums[key] = found.sums.get(key, 0.0) + value
    elif name.endswith("_count"):
        found.counts[key] = found.counts.get(key, 0.0) + value
    elif family == _ROWS:
        found.buckets[labels["le"]] = found.buckets.get(labels["le"], 0.0) + value


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
        batch_sizes=_sizes(before, after),
        queue_ms=queue,
        handler_ms=handler,
        phases_ms=phases,
        request_ms=request,
        other_ms=request - queue - handler,
    )


def _count(before: Snapshot, after: Snapshot, key: str) -> float:
    return after.counts.get(key, 0.0) - before.counts.get(key, 0.0)


def _mean(before: Snapshot, after: Snapshot, key: str) -> float:
    """Milliseconds."""
    count = _count(before, after, key)
    return (after.sums.get(key, 0.0) - before.sums.get(key, 0.0)) / count * 1000 if count else 0.0


def _sizes(before: Snapshot, after: Snapshot) -> dict[str, int]:
    """Upper bound → batches between the bound below and it."""
    bounds = sorted(after.buckets, key=float)
    upto = [after.buckets[bound] - before.buckets.get(bound, 0.0) for bound in bounds]
    own = [here - below for here, below in zip(upto, [0.0, *upto], strict=False)]
    pairs = zip(bounds, own, strict=True)
    return {f"{float(bound):g}" if bound != "+Inf" else bound: int(count) for bound, count in pairs if count}
