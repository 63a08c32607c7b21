"""Why a candidate is not worth a server: small rules, each of which answers with one sentence or with None. Pure.

The rules before any measurement need the machine alone; those after it need what the models do without a server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from runner.tune.facts import Alone, Goal
from runner.tune.predict import LIKELY, at, rate
from runner.tune.space import Candidate, Space, Variant

#: Part by which more threads, a shorter format or compiled code must be faster somewhere to be worth a server.
_FASTER = 0.03
#: A limit that is less than so many times what one row takes alone is near: the smallest gain may decide.
_ROOM = 2
#: Part by which a larger batch must raise the rate.
_MORE = 0.02
#: Bytes beside the model that a process takes on a GPU.
_CONTEXT = 500_000_000


@dataclass(frozen=True, slots=True)
class Machine:
    """`free` and `gpu_free` in bytes; `gpu_free` of the fullest GPU that counts, None where nobody tells."""

    cores: int
    free: int
    gpus: int = 0
    gpu_free: int | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What the rules look at."""

    space: Space
    goal: Goal
    machine: Machine
    alone: Mapping[Variant, Alone] = field(default_factory=dict)


Rule = Callable[[Candidate, Known], str | None]


def too_many_threads(candidate: Candidate, known: Known) -> str | None:
    """Thread teams that share cores collapse (runner/pool/cores.py)."""
    if candidate.variant.device == "cpu" and candidate.cores > known.machine.cores:
        return (
            f"{candidate.workers} workers × {candidate.variant.threads} threads are more than the "
            f"{known.machine.cores} cores"
        )
    return None


def idle_workers(candidate: Candidate, known: Known) -> str | None:
    """With a fixed closed loop there are never more requests than that."""
    under_way = known.goal.concurrency
    if under_way is not None and candidate.workers > max(under_way) and candidate.workers > _least_workers(known):
        return f"{candidate.workers} workers for {max(under_way)} at a time"
    return None


def _least_workers(known: Known) -> int:
    return min(min(counts) for counts in known.space.workers.values())


def empty_places(candidate: Candidate, known: Known) -> str | None:
    """With a fixed closed loop no batch is larger than what is under way."""
    under_way = known.goal.concurrency
    if under_way is None:
        return None
    smaller = _smaller_sizes(candidate, known)
    if smaller and max(smaller) >= max(under_way):
        return f"batches of {candidate.batch_size} never fill with {max(under_way)} at a time"
    return None


def _smaller_sizes(candidate: Candidate, known: Known) -> list[int]:
    return [size for size in known.space.batch_sizes[candidate.variant.device] if size < candidate.batch_size]


def not_served_so(candidate: Candidate, known: Known) -> str | None:
    """It does not load, the device refuses it, or its answers are further from the model's than `verify` allows."""
    return known.alone[candidate.variant].refused


def no_memory(candidate: Candidate, known: Known) -> str | None:
    """By the most that one process of it has held; what it held before the model came, workers share."""
    machine = known.machine
    needed, on_gpu = _memory(candidate, known)
    if needed > machine.free:
        return f"{candidate.workers} workers need some {_gb(needed)}, {_gb(machine.free)} are free"
    if machine.gpu_free is not None and on_gpu > machine.gpu_free:
        workers = _on_a_gpu(candidate, known)
        return f"{workers} workers on a GPU need some {_gb(on_gpu)}, {_gb(machine.gpu_free)} are free"
    return None


def _memory(candidate: Candidate, known: Known) -> tuple[int, int]:
    """Bytes that its server needs: of the machine, and of each GPU."""
    found = known.alone[candidate.variant]
    needed = found.base + candidate.workers * (found.memory - found.base)
    if candidate.variant.device != "cuda":
        return needed, 0
    return needed, _on_a_gpu(candidate, known) * (found.gpu_memory + _CONTEXT)


def _on_a_gpu(candidate: Candidate, known: Known) -> int:
    return -(-candidate.workers // max(1, known.machine.gpus))


def servers_at_once(candidates: Sequence[Candidate], known: Known, most: int) -> int:
    """How many of them fit into memory together, one at least and no more than `most`."""
    machine = known.machine
    needs = [_memory(each, known) for each in candidates]
    fit = [machine.free // need for need, _ in needs if need]
    fit += [machine.gpu_free // need for _, need in needs if need and machine.gpu_free is not None]
    return max(1, min([most, *fit]))


def slow_batch(candidate: Candidate, known: Known) -> str | None:
    """What takes longer than the limit with nothing around it cannot be answered within it. A batch size stays when
    batches between the next smaller size and it do not: at a fit concurrency they are what it brings."""
    sla, curve = known.goal.sla, known.alone[candidate.variant].milliseconds
    least = max(_smaller_sizes(candidate, known), default=0) + 1
    if sla is None or at(curve, least) <= sla:
        return None
    return f"batches of {least} and more take {_ms(at(curve, least))} ms and more alone, the limit is {_ms(sla)} ms"


def not_faster(candidate: Candidate, known: Known) -> str | None:
    """Something simpler is as fast alone at every batch size."""
    variant = candidate.variant
    found = known.alone[variant].milliseconds
    for simpler in _simpler(variant, known):
        curve = known.alone[simpler].milliseconds
        sizes = found.keys() & curve.keys()
        if sizes and not any(found[size] < curve[size] * (1 - _gain(curve, known.goal.sla)) for size in sizes):
            size = min(sizes, key=lambda each: found[each] / curve[each])
            return (
                f"not faster than {_told(simpler)}: at best {_ms(found[size])} against {_ms(curve[size])} ms "
                f"for a batch of {size}"
            )
    return None


def _gain(curve: Mapping[int, float], sla: float | None) -> float:
    """What counts as faster than that curve: anything, where the limit is near."""
    return _FASTER if sla is None or min(curve.values()) * _ROOM <= sla else 0.0


def _simpler(variant: Variant, known: Known) -> list[Variant]:
    """Those on the same device that are simpler in some things, and in the others the same."""
    formats = known.space.precisions[variant.device]
    own = formats.index(variant.precision)
    return [
        each
        for each, found in known.alone.items()
        if each != variant and each.device == variant.device and found.refused is None
        if formats.index(each.precision) <= own
        if each.compiled <= variant.compiled and each.threads <= variant.threads
    ]


def flat_curve(candidate: Candidate, known: Known) -> str | None:
    """A smaller batch already gives as many rows a second, also with what a server adds to each batch."""
    found = known.alone[candidate.variant]
    sizes = _smaller_sizes(candidate, known)
    if not sizes:
        return None
    own, before = (
        rate(candidate, found, per_batch=LIKELY.per_batch, most=size) for size in (candidate.batch_size, max(sizes))
    )
    if own > before * (1 + _MORE):
        return None
    return f"batches of {candidate.batch_size} bring no more rows a second than of {max(sizes)}: {own:.0f} a second"


def too_slow_for_rate(candidate: Candidate, known: Known) -> str | None:
    """An open loop does not wait."""
    wanted = known.goal.rate
    most = rate(candidate, known.alone[candidate.variant])
    if wanted is not None and most < wanted:
        return f"at most {most:.0f} a second alone, {wanted:g} are asked for"
    return None


BEFORE: tuple[Rule, ...] = (too_many_threads, idle_workers, empty_places)
AFTER: tuple[Rule, ...] = (not_served_so, no_memory, slow_batch, not_faster, too_slow_for_rate, flat_curve)


def prune(
    candidates: Sequence[Candidate], known: Known, rules: Sequence[Rule]
) -> tuple[list[Candidate], dict[Candidate, str]]:
    """Those that are left, and why the others are not."""
    left, out = [], {}
    for candidate in candidates:
        reason = next(filter(None, (rule(candidate, known) for rule in rules)), None)
        if reason is None:
            left.append(candidate)
        else:
            out[candidate] = reason
    return left, out


def _told(variant: Variant) -> str:
    return f"{variant.name} with {variant.threads} thread{'' if variant.threads == 1 else 's'}"


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def _ms(value: float) -> str:
    return f"{value:.3g}"
