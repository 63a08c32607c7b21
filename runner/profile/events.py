"""A trace of torch.profiler (Chrome's trace format) → the events that count, each with its place. Pure.

`cpu_op` are operators, `user_annotation` ranges. What runs on a GPU names the operator that started it by its number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Kind(Enum):
    """What an event is."""

    OPERATOR = "operator"
    RANGE = "range"
    KERNEL = "kernel"
    COPY = "copy"


_KINDS = {
    "cpu_op": Kind.OPERATOR,
    "user_annotation": Kind.RANGE,
    "kernel": Kind.KERNEL,
    "gpu_memset": Kind.KERNEL,
    "gpu_memcpy": Kind.COPY,
}


@dataclass(frozen=True, slots=True)
class Event:
    """Times in microseconds on one clock. `number`: the operator's own, or of the one that started the kernel.
    `shapes`: of an operator's tensors, in words. `size`: bytes of a copy."""

    name: str
    kind: Kind
    start: float
    end: float
    thread: str
    number: int | None = None
    shapes: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Placed:
    """An event of the CPU with the names around it, the outermost first. `own`: its time without what is inside it;
    `device`: that of the kernels and copies which it started itself. Microseconds."""

    event: Event
    path: tuple[str, ...]
    own: float
    device: float


def events_of(trace: Mapping[str, Any]) -> list[Event]:
    """Of a decoded trace."""
    return [
        _event(each) for each in trace.get("traceEvents", ()) if each.get("ph") == "X" and each.get("cat") in _KINDS
    ]


def _event(found: Mapping[str, Any]) -> Event:
    arguments = found.get("args", {})
    start = float(found["ts"])
    return Event(
        name=str(found["name"]),
        kind=_KINDS[found["cat"]],
        start=start,
        end=start + float(found.get("dur", 0.0)),
        thread=f"{found.get('pid')}/{found.get('tid')}",
        number=arguments.get("External id"),
        shapes=_words(arguments.get("Input Dims", ())),
        size=int(arguments.get("bytes", 0)),
    )


def _words(dims: Iterable[Any]) -> str:
    """`[[8, 12], [], [384]]` → `8×12, 384`; what is no tensor has no dimensions."""
    return ", ".join("×".join(map(str, each)) for each in dims if each and not isinstance(each[0], list))


def placed(events: Sequence[Event], root: str) -> list[Placed]:
    """The events inside the ranges called `root`, these included."""
    device = _device_times(events)
    threads: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.kind in (Kind.OPERATOR, Kind.RANGE):
            threads[event.thread].append(event)
    every = (each for thread in threads.values() for each in _nested(thread, device))
    return [each for each in every if root in (each.event.name, *each.path[:1])]


def _device_times(events: Iterable[Event]) -> Mapping[int, float]:
    times: dict[int, float] = defaultdict(float)
    for event in events:
        if event.kind in (Kind.KERNEL, Kind.COPY) and event.number is not None:
            times[event.number] += event.end - event.start
    return times


@dataclass(slots=True)
class _Open:
    event: Event
    path: tuple[str, ...]
    inside: float = 0.0


def _nested(thread: Iterable[Event], device: Mapping[int, float]) -> Iterator[Placed]:
    """One thread's events: what begins within another is inside it."""
    stack: list[_Open] = []
    for event in sorted(thread, key=lambda each: (each.start, -each.end)):
        while stack and stack[-1].event.end <= event.start:
            yield _closed(stack, device)
        path = (*stack[-1].path, stack[-1].event.name) if stack else ()
        stack.append(_Open(event, path))
    while stack:
        yield _closed(stack, device)


def _closed(stack: list[_Open], device: Mapping[int, float]) -> Placed:
    last = stack.pop()
    took = last.event.end - last.event.start
    if stack:
        stack[-1].inside += took
    number = last.event.number
    return Placed(
        last.event, last.path, max(took - last.inside, 0.0), 0.0 if number is None else device.get(number, 0.0)
    )
