"""The machine and the moment, for the report: figures mean little without them."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from runner.host_metrics import gpus_of_nvidia_smi
from runner.pool.cores import available_cores

_CPU_INFO = Path("/proc/cpuinfo")


def now() -> str:
    """ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def load_average() -> float:
    """Processes that wanted to run in the last minute, on average."""
    return round(os.getloadavg()[0], 2)


def describe() -> dict[str, Any]:
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": len(available_cores()),
        "memoryBytes": psutil.virtual_memory().total,
        "gpus": len(gpus_of_nvidia_smi()),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "loadAverage": load_average(),
    }


def _processor() -> str:
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
