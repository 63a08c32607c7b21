"""What is asked for and what was measured, as values. Pure. Times in milliseconds unless a name says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from runner.tune.space import Variant

#: The words of `--objective` → what each asks for, in one sentence.
OBJECTIVES = {
    "throughput": "the most answers a second at any concurrency whose p99 is within the limit",
    "latency": "the lowest p99 at the load that is asked for (--rate, or --concurrency, else 1)",
    "cost": "the fewest core-seconds of the whole server per answer at any concurrency whose p99 is within the limit",
}

#: Most requests at a time that are tried where the best level is searched.
MOST = 512


@dataclass(frozen=True, slots=True)
class Goal:
    """`sla`: the p99 that counts as good enough, None for any. The load: `rate` a second in an open loop, or these
    `concurrency` levels in a closed one, or, where both are None, the level that is best."""

    objective: str
    sla: float | None
    concurrency: tuple[int, ...] | None = None
    rate: float | None = None

    @property
    def at_a_time(self) -> int | None:
        """Most requests at a time that a candidate may be measured with; None in an open loop."""
        if self.rate is not None:
            return None
        return MOST if self.concurrency is None else max(self.concurrency)


@dataclass(frozen=True, slots=True)
class Alone:
    """A variant without a server. `milliseconds` of the whole handler by batch size; `load` in seconds; `memory` and
    `gpu_memory`: most bytes of its process, `base` before the model was loaded. `refused`: why it is not served so
    (it does not load, the device cannot, the answers are beyond `verify`), with `measured` what `verify` compared."""

    variant: Variant
    milliseconds: Mapping[int, float]
    load: float = 0.0
    memory: int = 0
    gpu_memory: int = 0
    base: int = 0
    refused: str | None = None
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Load:
    """How a reading was driven: a closed loop of so many at a time, or an open one of so many a second."""

    concurrency: int | None = None
    rate: float | None = None

    @property
    def name(self) -> str:
        return f"{self.concurrency} at a time" if self.rate is None else f"{self.rate:g}/s"


@dataclass(frozen=True, slots=True)
class Reading:
    """A server under one load for a while. `cores`: processor time of the whole server over time; `memory` in bytes.
    `cut`: the limit that was certainly broken before the time was over; the figures are of the part until then."""

    load: Load
    seconds: float
    requests: int
    throughput: float
    p50: float
    p99: float
    failed: int = 0
    cores: float | None = None
    memory: int | None = None
    mean_batch: float | None = None
    cut: float | None = None

    @property
    def cost(self) -> float | None:
        """Core-seconds per answer."""
        return self.cores / self.throughput if self.cores is not None and self.throughput else None


def pooled(readings: list[Reading]) -> Reading:
    """Several readings of one load as one: medians, and the sums of what was sent. Raises ValueError for none."""
    if not readings:
        raise ValueError("no readings are no reading")
    cores = [each.cores for each in readings if each.cores is not None]
    batches = [each.mean_batch for each in readings if each.mean_batch is not None]
    return Reading(
        load=readings[0].load,
        seconds=sum(each.seconds for each in readings),
        requests=sum(each.requests for each in readings),
        throughput=median(each.throughput for each in readings),
        p50=median(each.p50 for each in readings),
        p99=median(each.p99 for each in readings),
        failed=sum(each.failed for each in readings),
        cores=median(cores) if cores else None,
        memory=max((each.memory for each in readings if each.memory is not None), default=None),
        mean_batch=median(batches) if batches else None,
        cut=min((each.cut for each in readings if each.cut is not None), default=None),
    )
