"""What keeps a reader from a wrong conclusion. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runner.bench.notes import of_machine
from runner.profile.figures import Figures

#: How many times as long a batch may take under the profiler as without it, either way; small operators cost 2.
_DISTURBED = 4


def of(machine: Mapping[str, Any], figures: Figures) -> Iterator[str]:
    """`machine`: as it was before the start."""
    yield from of_machine(machine)
    times = figures.profiled_ms / figures.ms
    if not 1 / _DISTURBED < times < _DISTURBED:
        yield (
            f"the batches that were recorded took {times:.2g} times as long as those that were timed: shares of "
            "operators and of the flame may be of a disturbed machine; measure again"
        )
