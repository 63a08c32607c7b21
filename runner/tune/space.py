"""What can be chosen: candidates as values, and which there are unless the command line says otherwise. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

#: Batch sizes that are tried beside the archive's own.
_BATCHES = {"cpu": (1, 4, 8, 16, 32), "cuda": (1, 4, 8, 16, 32, 64, 128), "mps": (1, 4, 8, 16, 32)}
#: Number formats that are tried beside the archive's own.
_SHORTER = {"cpu": ("bf16",), "cuda": ("bf16", "fp16"), "mps": ("fp16",)}


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to have the model in a process. `device`: cpu, cuda or mps. `precision`: a word of the config's
    `precision` or a scheme of `quantization`, None for the archive's own. `compiled`: by pt2.compile."""

    device: str
    precision: str | None
    compiled: bool
    threads: int

    @property
    def name(self) -> str:
        """As tables call it, without the threads."""
        return " ".join([self.precision or "as declared", *(["compiled"] if self.compiled else [])])


@dataclass(frozen=True, slots=True)
class Candidate:
    """One configuration: so many workers with a model each, batches of at most so many rows."""

    variant: Variant
    workers: int
    batch_size: int

    @property
    def name(self) -> str:
        """As sentences call it."""
        variant = self.variant
        return f"{variant.device}, {variant.name}, {self.workers} × {variant.threads}, batch {self.batch_size}"

    @property
    def cores(self) -> int:
        """That its workers may keep busy."""
        return self.workers * self.variant.threads


@dataclass(frozen=True, slots=True)
class Space:
    """The values of each setting; `of` a device where they differ. The simpler ones come first."""

    devices: tuple[str, ...]
    precisions: Mapping[str, tuple[str | None, ...]]
    compiled: tuple[bool, ...]
    batch_sizes: Mapping[str, tuple[int, ...]]
    workers: Mapping[str, tuple[int, ...]]
    threads: Mapping[str, tuple[int, ...]]

    def variants(self) -> list[Variant]:
        """The simplest first."""
        return [
            Variant(device, precision, compiled, threads)
            for device in self.devices
            for compiled in self.compiled
            for precision, threads in product(self.precisions[device], self.threads[device])
        ]

    def candidates(self) -> list[Candidate]:
        return [
            Candidate(variant, workers, size)
            for variant in self.variants()
            for workers in self.workers[variant.device]
            for size in self.batch_sizes[variant.device]
        ]

    def simplicity(self, candidate: Candidate) -> tuple[int, ...]:
        """What sorts candidates from the simplest on: nothing changed, few processes, small batches."""
        variant = candidate.variant
        return (
            self.devices.index(variant.device),
            int(variant.compiled),
            self.precisions[variant.device].index(variant.precision),
            candidate.cores,
            candidate.workers,
            candidate.batch_size,
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line names; None where it names nothing."""

    devices: tuple[str, ...] | None = None
    precisions: tuple[str, ...] | None = None
    compiled: tuple[bool, ...] | None = None
    batch_sizes: tuple[int, ...] | None = None
    workers: tuple[int, ...] | None = None
    threads: tuple[int, ...] | None = None


def space(wanted: Wanted, *, device: str, batch_size: int, cores: int, gpus: int) -> Space:
    """`device` and `batch_size`: the archive's own on this machine; `cores` and `gpus`: the machine's."""
    devices = wanted.devices or (device,)
    return Space(
        devices=devices,
        precisions={each: wanted.precisions or (None, *_SHORTER[each]) for each in devices},
        compiled=tuple(sorted(wanted.compiled or (False, True))),
        batch_sizes={each: _rising(wanted.batch_sizes or (*_BATCHES[each], batch_size)) for each in devices},
        workers={each: _rising(wanted.workers or _workers(each, cores, gpus)) for each in devices},
        threads={each: _rising(wanted.threads or _threads(each, cores)) for each in devices},
    )


def _workers(device: str, cores: int, gpus: int) -> tuple[int, ...]:
    """One and two processes for each GPU; on CPUs any part of the cores by halves."""
    return _doubling(cores) if device == "cpu" else (max(1, gpus), 2 * max(1, gpus))


def _threads(device: str, cores: int) -> tuple[int, ...]:
    return _doubling(cores) if device == "cpu" else (1,)


def _doubling(most: int) -> tuple[int, ...]:
    """1, 2, 4 … and `most`."""
    return tuple(1 << power for power in range(most.bit_length()) if 1 << power < most) + (most,)


def _rising(values: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted({*values}))
