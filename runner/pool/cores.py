"""The cores that this process may really use, and how workers share them.

Rules of the room
1. The cores are the affinity mask, one logical CPU per physical core, no more of them than the cgroup's quota
   pays for. `os.cpu_count()` sees none of the three: a container with 2 CPUs on a 64-core host has 2 cores.
2. Workers × threads never exceed the cores by default: two OpenMP teams that spin on shared cores collapse
   (8.9 against 149 answers a second, measured with MiniLM on 2 cores).
3. Files of the kernel come in through `Read`, so every machine can be a test.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

#: Absolute path → the file's text, None when there is no such file.
Read = Callable[[str], str | None]

_CGROUP = "/sys/fs/cgroup"
_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def available_cores() -> list[int]:
    """Logical CPU numbers that workers may use, ascending; never empty."""
    return usable_cores(_affinity(), _read)


def default_threads(workers: int, cores: int) -> int:
    """Intra-op threads of each of `workers` so that together they fill `cores` and do not exceed them."""
    return max(1, cores // max(1, workers))


def partition(cores: Sequence[int], workers: int) -> list[list[int]]:
    """One core set per worker: disjoint and as even as can be, neighbours together.

    With more workers than cores the sets cannot be disjoint: each worker then has one core, in turn.
    """
    if workers >= len(cores):
        return [[cores[index % len(cores)]] for index in range(workers)]
    bounds = [index * len(cores) // workers for index in range(workers + 1)]
    return [list(cores[start:end]) for start, end in zip(bounds, bounds[1:], strict=False)]


def usable_cores(affinity: Collection[int], read: Read) -> list[int]:
    """The CPUs of `affinity`, without second hardware threads, as many as the CPU quota of the cgroup allows.

    A fraction of a core counts as none: a quota of 2.5 gives two cores, one of 0.5 still gives one.
    """
    physical = _one_per_core(affinity, read)
    quota = cpu_quota(read)
    return physical if quota is None else physical[: max(1, int(quota))]


def cpu_quota(read: Read) -> float | None:
    """CPUs' worth of time that the cgroup allows, the least along the way to its root; None without a limit."""
    quotas = [quota for path in _quota_paths(read) if (quota := _quota(path, read)) is not None]
    return min(quotas, default=None)


def _one_per_core(affinity: Collection[int], read: Read) -> list[int]:
    """The first allowed hardware thread of every physical core; what the kernel does not tell counts as a core."""
    first: dict[frozenset[int], int] = {}
    for cpu in sorted(affinity):
        listed = read(_SIBLINGS.format(cpu))
        first.setdefault(frozenset(_cpu_list(listed)) if listed else frozenset({cpu}), cpu)
    return list(first.values())


def _cpu_list(text: str) -> Iterator[int]:
    """The kernel's list format: "0,32" or "0-3,8"."""
    for part in text.strip().split(","):
        low, _, high = part.partition("-")
        yield from range(int(low), int(high or low) + 1)


def _quota_paths(read: Read) -> Iterator[str]:
    """The directories that may hold a limit: this cgroup and all above it, version 2 and version 1.

    In a container with its own cgroup namespace the path is "/", and the limit lies in the mount's root.
    """
    for line in (read("/proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",")
        if controllers and "cpu" not in names:
            continue
        root = f"{_CGROUP}/{controllers}" if controllers else _CGROUP
        parts = [part for part in path.split("/") if part]
        yield from ("/".join([root, *parts[:depth]]) for depth in range(len(parts) + 1))


def _quota(directory: str, read: Read) -> float | None:
    unified = read(f"{directory}/cpu.max")
    if unified is not None:
        return _ratio(*unified.split())
    quota, period = read(f"{directory}/cpu.cfs_quota_us"), read(f"{directory}/cpu.cfs_period_us")
    return None if quota is None or period is None else _ratio(quota.strip(), period.strip())


def _ratio(quota: str, period: str) -> float | None:
    """Version 2 says "max", version 1 says -1 where there is no limit."""
    return None if quota == "max" or int(quota) <= 0 else int(quota) / int(period)


def _affinity() -> Collection[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)  # macOS has no affinity masks


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:
        return None  # not this kernel, not this cgroup version: the rule does not apply
