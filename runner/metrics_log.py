"""ts_metrics.log and model_metrics.log, in the lines that TorchServe writes in them; /metrics has the same beside it.

Rules of the room
1. Nobody who answers requests waits for a disk: lines are made and written in a thread, at most once a second.
2. A counter's line is what was added since its last one, so that sums are TorchServe's; a gauge's is its value, when
   it has changed. The machine's gauges have a line each time.
3. Values of handlers have a line each. Without this log nobody keeps them: `counting` makes counters that do.

The lines are those of org.pytorch.serve.metrics.Metric and of TorchServe's log4j2.xml.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.samples import Sample

from runner import wire
from runner.counting import ModelMetrics
from runner.host_metrics import HOST, HOST_UNITS
from runner.log_file import LogFile
from runner.metrics import TORCHSERVE_UNITS, Gauges, Metrics

log = logging.getLogger("archive.server")

#: Seconds between two writings of handlers' values.
_TICK = 1.0
#: Values of handlers that wait to be written.
_MOST = 100_000
#: Seconds for the last lines when the server ends.
_LAST = 5.0
_HOSTS = ("Hostname", "hostname")
#: Measured of the handler, so TorchServe has it beside the handler's own, in the unit of its metrics.yaml.
_OF_HANDLERS = {"PredictionTime": "ms", "HandlerTime": "ms"}

#: When it was measured, what, its unit, the value, its dimensions.
_Value = tuple[float, str, str, float, Mapping[str, str]]


class MetricsLog:
    """Two files in `folder`. `interval`: seconds between lines of the server and the machine; `units` of handlers'
    metrics, where they are defined."""

    def __init__(self, folder: Path, interval: float, units: Mapping[str, str]) -> None:
        self._server = LogFile(folder / "ts_metrics.log")
        self._models = LogFile(folder / "model_metrics.log")
        self._interval = interval
        self._units = {**_OF_HANDLERS, **units}
        self._waiting: list[_Value] = []
        self._lost = 0
        self._last: dict[tuple[str, tuple[str, ...]], float] = {}
        self._stop = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None

    def counting(self, name: str, version: str) -> ModelMetrics:
        """Counters of a model version that keep handlers' values for this log."""
        return _Recorded(name, version, self._keep)

    def _keep(self, metric: wire.Metric) -> None:
        if len(self._waiting) >= _MOST:
            self._lost += 1
            return
        self._waiting.append((time.time(), metric.name, metric.unit, metric.value, metric.dimensions))

    def start(self, metrics: Metrics, gauges: Callable[[], list[Gauges]]) -> None:
        """Write from now on."""
        self._writing = asyncio.create_task(self._write_on(metrics, gauges), name="metrics-log")

    async def stop(self) -> None:
        """Write the rest, if it was started, and no more."""
        self._stop.set()
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=_LAST)

    async def _write_on(self, metrics: Metrics, gauges: Callable[[], list[Gauges]]) -> None:
        due = 0.0
        while True:
            ending = self._stop.is_set()
            families: list[Metric] = []
            if ending or time.monotonic() >= due:
                due = time.monotonic() + self._interval
                metrics.gauges = gauges()
                await metrics.refresh()
                families = [*metrics.torchserve()]
            values, self._waiting = self._waiting, []
            await asyncio.to_thread(self._write, families, values)
            if ending:
                return
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stop.wait(), min(_TICK, self._interval))

    def _write(self, families: Iterable[Metric], values: Iterable[_Value]) -> None:
        if self._lost:
            log.warning("%d values of handlers are not in model_metrics.log: too many in a second", self._lost)
            self._lost = 0
        now = time.time()
        told = [*self._told(families)]
        self._server.add("".join(_line(now, *each) for each in told if each[0] not in _OF_HANDLERS))
        measured = [(at, name, self._units.get(name, unit), value, of) for at, name, unit, value, of in values]
        measured += [(now, *each) for each in told if each[0] in _OF_HANDLERS]
        self._models.add("".join(_line(*each) for each in measured))

    def _told(self, families: Iterable[Metric]) -> Iterator[tuple[str, str, float, Mapping[str, str]]]:
        """What there is to say since the last time."""
        for family in families:
            unit = self._units.get(family.name) or TORCHSERVE_UNITS[family.name]
            for sample in family.samples:
                value = self._new(family, sample)
                if value is not None:
                    yield family.name, unit, value, sample.labels

    def _new(self, family: Metric, sample: Sample) -> float | None:
        key = (family.name, tuple(sample.labels.values()))
        before = self._last.get(key, 0.0)
        self._last[key] = sample.value
        if family.type == "gauge":
            return None if before == sample.value and family.name not in HOST_UNITS else sample.value
        return sample.value - before or None


class _Recorded(ModelMetrics):
    """Hands every value of a handler on before it is counted."""

    def __init__(self, name: str, version: str, keep: Callable[[wire.Metric], None]) -> None:
        super().__init__(name, version)
        self._keep = keep

    def batch(self, rows: int, took: float, seconds: dict[str, float], metrics: list[wire.Metric]) -> None:
        for metric in metrics:
            self._keep(metric)
        super().batch(rows, took, seconds, metrics)


def _line(at: float, name: str, unit: str, value: float, dimensions: Mapping[str, str]) -> str:
    moment = datetime.fromtimestamp(at).isoformat(timespec="milliseconds").replace(".", ",")
    named = ",".join(f"{key}:{text}" for key, text in dimensions.items() if key not in _HOSTS)
    # A handler's text is no reason for a second line.
    said = " ".join(f"{name}.{unit}:{float(value)}|#{named}|#hostname:{HOST},timestamp:{int(at)}".splitlines())
    return f"{moment} - {said}\n"
