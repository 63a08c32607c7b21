"""Where a model's workers run: which devices, how many workers, how many threads each. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from archiver.config.model import ModelConfig
from archiver.errors import ServeFailed
from runner.pool.cores import default_threads, partition
from runner.pool.spawner import Platform

_GPU_NAMES = ("gpu", "cuda")


@dataclass(frozen=True, slots=True)
class Placement:
    """`devices[i]` and `cpus[i]` are worker i's ("cpu", "mps" or "cuda:N"; None = not pinned).

    `fallback` says, in one sentence, what was declared and cannot be had here.
    """

    kind: str
    devices: tuple[str, ...]
    threads: int
    cpus: tuple[tuple[int, ...] | None, ...]
    fallback: str | None

    @property
    def workers(self) -> int:
        return len(self.devices)


def device_kind(declared: str, platform: Platform, *, by_flag: bool) -> tuple[str, str | None]:
    """The kind of device ("cuda", "mps", "cpu") and the stated fallback, if it is not the declared one.

    Raises ServeFailed when the user asked for it on the command line: there a silent CPU would be a lie.
    """
    if declared == "auto":
        return ("cuda" if platform.cuda else "mps" if platform.mps else "cpu"), None
    wanted = "cuda" if declared in _GPU_NAMES else declared
    if wanted == "cpu" or (wanted == "cuda" and platform.cuda) or (wanted == "mps" and platform.mps):
        return wanted, None
    if by_flag:
        raise ServeFailed(
            f"--device {declared}: this machine has no such device (torch {platform.torch})",
            hint="leave --device out: `auto` takes the best there is",
        )
    return "cpu", f"deviceType {declared} is declared, this machine has none: running on cpu"


def place(config: ModelConfig, kind: str, fallback: str | None, platform: Platform, cores: list[int]) -> Placement:
    """Devices round robin, one thread team per worker, never more threads than cores.

    Defaults: on CPUs one worker per core with one thread (measured best: throughput and robustness), on GPUs
    one worker per GPU. `minWorkers` or, without it, `maxWorkers` as a cap, decide otherwise.
    """
    ids = _device_ids(config, kind, platform)
    count = _workers(config, kind, ids, cores)
    devices = tuple(f"cuda:{ids[i % len(ids)]}" if kind == "cuda" else kind for i in range(count))
    threads = config.threads.intra_op or default_threads(count, len(cores))
    cpus: tuple[tuple[int, ...] | None, ...] = (None,) * count
    if config.threads.pin:
        cpus = tuple(tuple(part) for part in partition(cores, count))
    return Placement(kind, devices, threads, cpus, fallback)


def _device_ids(config: ModelConfig, kind: str, platform: Platform) -> list[int]:
    if kind != "cuda":
        return []
    ids = list(config.device_ids or range(platform.cuda))
    beyond = [number for number in ids if number >= platform.cuda]
    if beyond:
        raise ServeFailed(f"deviceIds {beyond}: this machine has {platform.cuda} GPUs, numbered from 0")
    return ids


def _workers(config: ModelConfig, kind: str, ids: list[int], cores: list[int]) -> int:
    if config.min_workers is not None:
        return max(1, config.min_workers)
    default = {"cuda": len(ids), "mps": 1}.get(kind, len(cores))
    return max(1, min(default, config.max_workers or default))
