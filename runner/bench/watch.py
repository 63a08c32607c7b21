"""The server's processes while a round runs: processor time, memory, GPUs."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from statistics import fmean

import psutil

from runner.bench.report import Processes
from runner.host_metrics import Gpu, gpus_of_nvidia_smi

_MEGABYTE = 1 << 20
_EVERY = 0.5


class Watch:
    """A process and all that it started, from `begin` to `end`. `gpus`: asks them; None where there are none."""

    def __init__(self, pid: int, gpus: Callable[[], list[Gpu]] | None = None) -> None:
        self._root = psutil.Process(pid)
        self._gpus = gpus or (gpus_of_nvidia_smi if shutil.which("nvidia-smi") else None)
        self._before: dict[int, float] = {}
        self._since = 0.0
        self._seen: list[list[Gpu]] = []
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        self._before = {process.pid: seconds for process, seconds in self._busy()}
        self._since = time.perf_counter()
        if self._gpus is not None:
            self._over.clear()
            self._seen = []
            self._thread = threading.Thread(target=self._ask_gpus, args=(self._gpus,), daemon=True)
            self._thread.start()

    def end(self) -> Processes | None:
        """None when the process is gone."""
        seconds = time.perf_counter() - self._since
        self._stop_asking()
        after = {process.pid: (process, total) for process, total in self._busy()}
        if not after:
            return None
        busy = sum(total - self._before.get(pid, 0.0) for pid, (_, total) in after.items())
        memory = [_memory(process) for process, _ in after.values()]
        proportional = [pss for _, pss in memory]
        shares = [pss for pss in proportional if pss is not None]
        return Processes(
            count=len(after),
            cores=busy / seconds if seconds > 0 else 0.0,
            rss=sum(rss for rss, _ in memory),
            pss=sum(shares) if len(shares) == len(proportional) else None,
            gpu_percent=fmean(max(gpu[1] for gpu in each) for each in self._seen) if self._seen else None,
            gpu_bytes=max(_gpu_bytes(each) for each in self._seen) if self._seen else None,
        )

    def _busy(self) -> Iterator[tuple[psutil.Process, float]]:
        """Each process that is there with its processor seconds; one that ended and was not asked for yet is not."""
        with suppress(psutil.NoSuchProcess):
            for process in [self._root, *self._root.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    times = process.cpu_times()
                    if process.status() != psutil.STATUS_ZOMBIE:
                        yield process, times.user + times.system

    def _ask_gpus(self, ask: Callable[[], list[Gpu]]) -> None:
        while not self._over.is_set():
            found = ask()
            if found:
                self._seen.append(found)
            self._over.wait(_EVERY)

    def _stop_asking(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None


def _gpu_bytes(found: list[Gpu]) -> int:
    return int(sum(used for _, _, used, _ in found) * _MEGABYTE)


def _memory(process: psutil.Process) -> tuple[int, int | None]:
    """Resident and proportional bytes; the latter only where the system tells, and lets us ask."""
    try:
        full = process.memory_full_info()
        return full.rss, getattr(full, "pss", None)
    except psutil.AccessDenied:
        return process.memory_info().rss, None
    except psutil.NoSuchProcess:
        return 0, 0
