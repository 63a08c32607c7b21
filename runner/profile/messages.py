"""What the model's process tells of its passes. Plain, for it comes as JSON."""

from __future__ import annotations

import msgspec


class Call(msgspec.Struct, frozen=True):
    """One call of the module: its rows, its tokens (0 for what is no token model), how many of these are padding."""

    rows: int
    tokens: int
    padded: int


class WithoutPadding(msgspec.Struct, frozen=True):
    """Mean milliseconds of a call of the module: with batches as they came, and with batches of one row's copies,
    which need no padding. Measured in turn, over the same rows."""

    as_it_came: float
    without: float


class Recorded(msgspec.Struct, frozen=True):
    """`milliseconds`: by range, medians over the batches, without the profiler. `unfit` and `failed`: calls that
    eager answered because nothing compiled fits them, or compiled code failed. `not_apart`: why the trace has no
    ranges of the module's parts."""

    milliseconds: dict[str, float]
    unfit: int
    failed: int
    calls: list[Call]
    padding: WithoutPadding | None
    not_apart: str | None
    processor: str | None
