"""Every metric's name, labels and buckets; nobody builds one elsewhere.

The numbers are those of `runner.counting`; they become Prometheus families only when somebody scrapes. TorchServe's
names keep their meaning (https://github.com/pytorch/serve/blob/master/ts/configs/metrics.yaml) and are exactly its
own; `archive_…` is ours.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from runner.counting import Histogram, ModelMetrics
from runner.host_metrics import HOST, HOST_UNITS, HostMetrics, exact

_LABELS = ("model_name", "model_version")
_MILLISECONDS = "In milliseconds."

#: Units of TorchServe's metrics.yaml.
TORCHSERVE_UNITS = {
    **HOST_UNITS,
    **dict.fromkeys(("Requests2XX", "Requests4XX", "Requests5XX", "ts_inference_requests_total"), "Count"),
    **dict.fromkeys(("ts_inference_latency_microseconds", "ts_queue_latency_microseconds"), "Microseconds"),
    **dict.fromkeys(("QueueTime", "WorkerThreadTime", "WorkerLoadTime", "PredictionTime"), "Milliseconds"),
}
#: TorchServe's counters of a model version, and how they are read.
_TORCHSERVE_COUNTERS: dict[str, Callable[[ModelMetrics], float]] = {
    "ts_inference_requests_total": lambda model: model.latency.count + sum(model.failures.values()),
    "ts_inference_latency_microseconds": lambda model: model.latency.total * 1e6,
    "ts_queue_latency_microseconds": lambda model: model.queue.total * 1e6,
}
#: Name, description, and how a model version's counter is read.
_MODEL_COUNTERS: tuple[tuple[str, str, Callable[[ModelMetrics], float]], ...] = (
    (
        "archive_retried_rows",
        "Rows tried again after a failed batch or a dead worker.",
        lambda model: model.retried_rows,
    ),
    (
        "archive_refused_requests",
        "Requests refused because the queue was full.",
        lambda model: model.refused,
    ),
    (
        "archive_worker_restarts",
        "Workers started again after a death or a failed load.",
        lambda model: model.restarts,
    ),
)


def _histogram(name: str, text: str, labels: Sequence[str], of: Iterable[tuple[list[str], Histogram]]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, histogram in of:
        family.add_metric(values, buckets=histogram.cumulative(), sum_value=histogram.total)
    return family


def _counter(name: str, text: str, labels: Sequence[str], of: Iterable[tuple[list[str], float]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in of:
        family.add_metric(values, value)
    return family


def _gauge(name: str, text: str, labels: Sequence[str], of: Iterable[tuple[list[str], float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in of:
        family.add_metric(values, value)
    return family


@dataclass(frozen=True, slots=True)
class Gauges:
    """What a model version is like right now: rows in line, rows without an answer, workers declared and READY.

    `loads`: seconds that each worker took to load, by its number; `report`: what became of the declared
    optimisations (`runner.optimize.report`, as plain values).
    """

    labels: tuple[str, str]
    waiting: int
    open: int
    workers: int
    ready: int
    loads: Mapping[int, float] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)


class Metrics(Collector):
    """All models' metrics, as one Prometheus collector. `counting`: what makes a model version's counters."""

    def __init__(self, counting: Callable[[str, str], ModelMetrics] = ModelMetrics) -> None:
        self._counting = counting
        self._models: dict[tuple[str, str], ModelMetrics] = {}
        self._responses: dict[int, int] = {}
        self.gauges: Iterable[Gauges] = ()
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._host: HostMetrics | None = None

    def model(self, name: str, version: str) -> ModelMetrics:
        """The counters of a model version; one that comes back counts on."""
        return self._models.setdefault((name, version), self._counting(name, version))

    def response(self, status: int) -> None:
        """An HTTP answer to a prediction has gone out."""
        self._responses[status] = self._responses.get(status, 0) + 1

    def add_host(self, host: HostMetrics) -> None:
        """Tell of the machine as well."""
        self._registry.register(host)
        self._host = host

    async def refresh(self) -> None:
        """Before `exposition`: ask what takes time to ask."""
        if self._host is not None:
            await self._host.refresh()

    def exposition(self, names: Sequence[str] = ()) -> bytes:
        """Prometheus' text format; with names only these metrics."""
        if not names:
            return generate_latest(self._registry)
        chosen = CollectorRegistry()
        chosen.register(_Chosen(self._registry, frozenset(names)))
        return generate_latest(chosen)

    def torchserve(self) -> Iterator[Metric]:
        """Those that TorchServe has, without what handlers measure."""
        yield from self._as_torchserve()
        if self._host is not None:
            yield from self._host.collect()

    def collect(self) -> Iterator[Metric]:
        yield from self._times()
        yield from self._counts()
        yield from self._states()
        yield from self._as_torchserve()
        yield from self._from_handlers()

    def _times(self) -> Iterator[Metric]:
        models = [*self._models.values()]
        yield _histogram(
            "archive_request_seconds",
            "From acceptance to answer, of rows that a handler answered.",
            _LABELS,
            [([*m.labels], m.latency) for m in models],
        )
        yield _histogram(
            "archive_queue_seconds",
            "From acceptance until sent to a worker.",
            _LABELS,
            [([*m.labels], m.queue) for m in models],
        )
        yield _histogram("archive_batch_rows", "Rows per batch.", _LABELS, [([*m.labels], m.rows) for m in models])
        yield _histogram(
            "archive_phase_seconds",
            "Time of a batch in the worker, by phase.",
            (*_LABELS, "phase"),
            [([*m.labels, phase], h) for m in models for phase, h in m.phases.items()],
        )

    def _counts(self) -> Iterator[Metric]:
        for name, text, count in _MODEL_COUNTERS:
            yield _counter(name, text, _LABELS, [([*model.labels], count(model)) for model in self._models.values()])
        yield _counter(
            "archive_failed_rows",
            "Rows answered without a reply from the handler, by cause.",
            (*_LABELS, "cause"),
            [([*m.labels, cause.name.lower()], n) for m in self._models.values() for cause, n in m.failures.items()],
        )
        yield _counter(
            "archive_http_responses",
            "Answers to predictions, by HTTP status.",
            ("status",),
            [([str(status)], count) for status, count in sorted(self._responses.items())],
        )

    def _states(self) -> Iterator[Metric]:
        gauges = list(self.gauges)
        kinds = (
            ("archive_queue_rows", "Rows waiting in line.", "waiting"),
            ("archive_open_rows", "Accepted rows without an answer, waiting or in a worker.", "open"),
            ("archive_workers", "Declared workers.", "workers"),
            ("archive_workers_ready", "Workers that are READY.", "ready"),
        )
        for name, text, attribute in kinds:
            yield _gauge(name, text, _LABELS, [([*g.labels], getattr(g, attribute)) for g in gauges])
        yield from _optimisation(gauges)
        yield _gauge("archive_frontend_resident_bytes", "Memory of the front end.", (), [([], _resident())])

    def _as_torchserve(self) -> Iterator[Metric]:
        """TorchServe's names. Its gauges are the last value, whoever's it was."""
        models, host = [*self._models.values()], ("Level", "Hostname")
        for name, count in _TORCHSERVE_COUNTERS.items():
            samples = [((*model.labels, HOST), count(model)) for model in models]
            yield exact(name, "As TorchServe counts.", (*_LABELS, "hostname"), samples)
        for first in (2, 4, 5):
            answers = sum(count for status, count in self._responses.items() if status // 100 == first)
            yield exact(f"Requests{first}XX", "Answers to predictions.", host, [(("Host", HOST), float(answers))])
        queue = max((model.last_queue for model in models), default=0.0)
        yield _gauge("QueueTime", _MILLISECONDS, host, [(["Host", HOST], queue * 1000)])
        aside = max((model.last_took - model.last_handle for model in models), default=0.0)
        yield _gauge("WorkerThreadTime", _MILLISECONDS, host, [(["Host", HOST], max(0.0, aside) * 1000)])
        yield _gauge("WorkerLoadTime", _MILLISECONDS, ("WorkerName", *host), self._loads())
        handled = [([model.labels[0], "Model", HOST], model.last_handle * 1000) for model in models]
        yield _gauge("PredictionTime", _MILLISECONDS, ("ModelName", *host), handled)

    def _loads(self) -> list[tuple[list[str], float]]:
        """By TorchServe's name for a worker, with our number where it has a port."""
        return [
            ([f"W-{number}-{'_'.join(gauges.labels)}", "Host", HOST], seconds * 1000)
            for gauges in self.gauges
            for number, seconds in gauges.loads.items()
        ]

    def _from_handlers(self) -> Iterator[Metric]:
        """Under the name that the handler gave, whatever its kind, with our labels and the host beside its own."""
        families: dict[tuple[str, tuple[str, ...]], Metric] = {}
        for model in self._models.values():
            for (name, dimensions), metric in model.custom.items():
                labels, values = _labelled(model, dimensions)
                made = Metric(name, f"{name} ({metric.unit})", "gauge" if metric.type == "gauge" else "unknown")
                family = families.setdefault((name, labels), made)
                family.add_sample(name, dict(zip(labels, values, strict=True)), metric.value)
        yield from families.values()
        for model in self._models.values():
            for (name, dimensions), histogram in model.distributions.items():
                labels, values = _labelled(model, dimensions)
                yield _histogram(name, name, labels, [(values, histogram)])


def _labelled(model: ModelMetrics, dimensions: tuple[tuple[str, str], ...]) -> tuple[tuple[str, ...], list[str]]:
    pairs = {**dict(zip(_LABELS, model.labels, strict=True)), **dict(dimensions), "Hostname": HOST}
    return tuple(pairs), [*pairs.values()]


class _Chosen(Collector):
    """Of all metrics those that are asked for, by the name of the family or of its samples."""

    def __init__(self, every: CollectorRegistry, names: frozenset[str]) -> None:
        self._every = every
        self._names = names

    def collect(self) -> Iterator[Metric]:
        for family in self._every.collect():
            if family.name in self._names or any(sample.name in self._names for sample in family.samples):
                yield family


def _optimisation(gauges: list[Gauges]) -> Iterator[Metric]:
    """What is declared and whether it is what runs; a step that is not declared has no sample."""
    yield _gauge(
        "archive_optimisation_applied",
        "1 for a declared optimisation that runs and was verified, else 0; `applied` is what runs.",
        (*_LABELS, "step", "applied"),
        [
            ([*g.labels, step["name"], step["applied"] or ""], float(step["status"] == "applied"))
            for g in gauges
            for step in g.report.get("steps", ())
            if step["declared"] is not None
        ],
    )
    yield _gauge(
        "archive_optimisation_speedup",
        "How many times faster the model is than as loaded, by batch size, as measured before READY.",
        (*_LABELS, "batch"),
        [([*g.labels, size], ratio) for g in gauges for size, ratio in g.report.get("speedup", {}).items()],
    )


def _resident() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  a kernel file, read whole
        return float(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
