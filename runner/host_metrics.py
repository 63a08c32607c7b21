"""TorchServe's own metrics under their exact names and dimensions, so that its dashboards go on working: what the
host is doing, and requests by TorchServe's counting. GPUs are asked by nvidia-smi, where there is one.

Names, units and dimensions are those of TorchServe's metrics.yaml; its counters have no `_total`, so they go out
untyped, which is what Prometheus makes of such a name anyway.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence

import psutil
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

log = logging.getLogger("archive.server")

_MEGABYTE, _GIGABYTE = 1 << 20, 1 << 30
_SECONDS = 5
HOST = socket.gethostname()

#: What is told of the host → its unit.
HOST_UNITS = {
    **dict.fromkeys(("CPUUtilization", "MemoryUtilization", "DiskUtilization"), "Percent"),
    **dict.fromkeys(("MemoryUsed", "MemoryAvailable", "GPUMemoryUsed"), "Megabytes"),
    **dict.fromkeys(("DiskUsage", "DiskAvailable"), "Gigabytes"),
    **dict.fromkeys(("GPUMemoryUtilization", "GPUUtilization"), "Percent"),
}

Gpu = tuple[str, float, float, float]


def exact(name: str, text: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], float]]) -> Metric:
    """A family whose samples have just this name."""
    family = Metric(name, text, "unknown")
    for values, value in samples:
        family.add_sample(name, dict(zip(labels, values, strict=True)), value)
    return family


def gpus_of_nvidia_smi() -> list[Gpu]:
    """Number, utilisation in percent, memory used and altogether in megabytes, of each GPU."""
    fields = "index,utilization.gpu,memory.used,memory.total"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
        rows = [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
        return [(index, float(busy), float(used), float(whole)) for index, busy, used, whole in rows]
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        log.debug("GPUs cannot be asked: %s", error)
        return []


class HostMetrics(Collector):
    """CPU, memory and disk of the machine, in TorchServe's units: percent, megabytes, gigabytes. GPUs as they were
    when `refresh` was called."""

    def __init__(self, gpus: Callable[[], list[Gpu]] | None = None) -> None:
        self._ask = gpus or (gpus_of_nvidia_smi if shutil.which("nvidia-smi") else None)
        self._gpus: list[Gpu] = []
        psutil.cpu_percent()  # the first call has nothing to compare with

    async def refresh(self) -> None:
        """Ask the GPUs, which a program does that takes its time."""
        if self._ask is not None:
            self._gpus = await asyncio.to_thread(self._ask)

    def collect(self) -> Iterator[Metric]:
        memory, disk = psutil.virtual_memory(), psutil.disk_usage("/")
        yield self._gauge("CPUUtilization", psutil.cpu_percent())
        yield self._gauge("MemoryUsed", memory.used / _MEGABYTE)
        yield self._gauge("MemoryAvailable", memory.available / _MEGABYTE)
        yield self._gauge("MemoryUtilization", memory.percent)
        yield self._gauge("DiskUsage", disk.used / _GIGABYTE)
        yield self._gauge("DiskAvailable", disk.free / _GIGABYTE)
        yield self._gauge("DiskUtilization", disk.percent)
        yield from self._of_gpus()

    def _gauge(self, name: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, f"{name} ({HOST_UNITS[name]})", labels=("Level", "Hostname"))
        family.add_metric(("Host", HOST), value)
        return family

    def _of_gpus(self) -> Iterator[Metric]:
        found = self._gpus
        columns = (
            ("GPUUtilization", [busy for _, busy, _, _ in found]),
            ("GPUMemoryUsed", [used for _, _, used, _ in found]),
            ("GPUMemoryUtilization", [100 * used / whole for _, _, used, whole in found]),
        )
        for name, values in columns if found else ():
            family = GaugeMetricFamily(name, f"{name} ({HOST_UNITS[name]})", labels=("Level", "DeviceId", "Hostname"))
            for (index, *_), value in zip(found, values, strict=True):
                family.add_metric(("Host", index, HOST), value)
            yield family
