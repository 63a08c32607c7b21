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
    """`devices[i]` and `cpus[i]` are worker i's ("cpu", "mps" or "cuda:N"; None = not pinned). `spans[i]`: the GPUs
    that it may see, of its own where a model spans several; empty for all.

    `fallback` says, in one sentence, what was declared and cannot be had here.
    """

    kind: str
    devices: tuple[str, ...]
    threads: int
    cpus: tuple[tuple[int, ...] | None, ...]
    fallback: str | None
    spans: tuple[tuple[int, ...], ...]

    @property
    def all_devices(self) -> list[str]:
        """The devices of all workers, one for each part of a model that spans several."""
        pairs = zip(self.devices, self.spans, strict=True)
        return [each for device, span in pairs for each in ([f"cuda:{number}" for number in span] or [device])]

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
    parallel = config.parallel
    if parallel.nodes > 1:
        raise ServeFailed(f"torchrun.nnodes {parallel.nodes}: a worker's processes are all on one machine")
    ids = _device_ids(config, kind, platform)
    count = _workers(config, kind, ids, cores)
    spans = _spans(config, ids, count)
    devices = tuple(f"cuda:{span[0]}" if span else kind for span in spans)
    alone = parallel.accelerators == 1 and not parallel.torchrun
    threads = config.threads.intra_op or parallel.threads or default_threads(count * parallel.processes, len(cores))
    cpus: tuple[tuple[int, ...] | None, ...] = (None,) * count
    if config.threads.pin:
        cpus = tuple(tuple(part) for part in partition(cores, count))
    return Placement(kind, devices, threads, cpus, fallback, ((),) * count if alone else spans)


def _device_ids(config: ModelConfig, kind: str, platform: Platform) -> list[int]:
    if kind != "cuda":
        return []
    ids = list(config.device_ids or range(platform.cuda))
    beyond = [number for number in ids if number >= platform.cuda]
    if beyond:
        raise ServeFailed(f"deviceIds {beyond}: this machine has {platform.cuda} GPUs, numbered from 0")
    return ids


def _spans(config: ModelConfig, ids: list[int], count: int) -> tuple[tuple[int, ...], ...]:
    """Each worker's GPUs, round robin; none without GPUs."""
    width = config.parallel.accelerators
    if not ids:
        return ((),) * count
    if width > len(ids):
        raise ServeFailed(
            f"each worker takes {width} GPUs (torchrun.nproc-per-node or parallelLevel), there are {len(ids)} for it",
            hint="--device cpu runs the processes on the CPU",
        )
    return tuple(tuple(ids[(worker * width + place) % len(ids)] for place in range(width)) for worker in range(count))


def _workers(config: ModelConfig, kind: str, ids: list[int], cores: list[int]) -> int:
    if config.min_workers is not None:
        return max(1, config.min_workers)
    accelerators, processes = config.parallel.accelerators, config.parallel.processes
    default = {"cuda": len(ids) // accelerators, "mps": 1}.get(kind, len(cores) // processes)
    return max(1, min(default, config.max_workers or default))
