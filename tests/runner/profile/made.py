"""Made-up traces: what torch.profiler would have written, by hand."""

from __future__ import annotations

from typing import Any

from runner.profile.events import Event, events_of
from runner.profile.figures import Figures, figures
from runner.profile.messages import Call, Recorded, WithoutPadding

CPU, RANGE, KERNEL, COPY = "cpu_op", "user_annotation", "kernel", "gpu_memcpy"


def entry(name: str, start: float, took: float, cat: str = CPU, tid: int = 1, **arguments: Any) -> dict[str, Any]:
    """Microseconds."""
    return {"ph": "X", "cat": cat, "name": name, "pid": 1, "tid": tid, "ts": start, "dur": took, "args": arguments}


def traced(*entries: dict[str, Any]) -> list[Event]:
    return events_of({"traceEvents": entries})


def batch_at(start: float) -> list[dict[str, Any]]:
    """1000 µs: 100 of preprocess, 800 of forward in inference; 500 of addmm, 100 each of copy_ and gelu."""
    return [
        entry("batch", start, 1000, RANGE),
        entry("preprocess", start, 100, RANGE),
        entry("inference", start + 100, 850, RANGE),
        entry("forward", start + 100, 800, RANGE),
        entry("layer.0 Linear", start + 100, 700, RANGE),
        entry("aten::linear", start + 100, 600, **{"Input Dims": [[8, 4], [4, 4], [4]]}),
        entry("aten::addmm", start + 100, 500, **{"Input Dims": [[4], [8, 4], [4, 4], [], []], "External id": start}),
        entry("aten::copy_", start + 700, 100),
        entry("aten::gelu", start + 800, 100),
    ]


TWO_BATCHES = (*batch_at(0), *batch_at(5000))
MILLISECONDS = {"batch": 2.0, "preprocess": 0.2, "inference": 1.7, "forward": 1.6}


def told(**fields: Any) -> Recorded:
    plain: dict[str, Any] = {
        "milliseconds": MILLISECONDS,
        "unfit": 0,
        "failed": 0,
        "calls": [Call(8, 0, 0)],
        "padding": None,
        "not_apart": None,
        "processor": None,
    }
    return Recorded(**{**plain, **fields})


def padded(tokens: int, of_them: int, came: float, without: float) -> dict[str, Any]:
    return {"calls": [Call(8, tokens, of_them)], "padding": WithoutPadding(came, without)}


def made(
    *more: dict[str, Any], batch: int = 8, buckets: tuple[int, ...] = (), compiled: bool = False, **fields: Any
) -> Figures:
    """Figures of two batches."""
    return figures(told(**fields), traced(*TWO_BATCHES, *more), batch, buckets, compiled=compiled)
