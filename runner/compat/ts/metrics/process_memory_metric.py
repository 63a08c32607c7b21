"""ts.metrics.process_memory_metric: the memory of processes, in bytes."""

from __future__ import annotations

import logging
from typing import TextIO

import psutil

__all__ = ["check_process_mem_usage", "get_cpu_usage"]

_log = logging.getLogger(__name__)


def get_cpu_usage(pid: str) -> int:
    """The resident memory of a process, whatever the name says; 0, and a line in the log, for one that is gone."""
    try:
        return int(psutil.Process(int(pid)).memory_info().rss)
    except psutil.Error:
        _log.error("there is no process %s", pid)
        return 0


def check_process_mem_usage(stdin: TextIO) -> None:
    """Log `pid:bytes` for each of a line of pids with commas between them."""
    for pid in stdin.readline().strip().split(","):
        if pid:
            _log.info("%s:%d", pid, get_cpu_usage(pid))
