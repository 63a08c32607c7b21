"""What the benchmark asks of an app. It comes in the environment, so that every process of a server sees it."""

from __future__ import annotations

import os
from dataclasses import dataclass

#: All that a server hands on to processes which it starts with an environment of its own making.
NAMES = tuple(f"SIDE_BY_SIDE_{name}" for name in ("WORKLOAD", "WORKERS", "BATCH", "DELAY_MS", "PORT", "MARKS", "RUN"))


@dataclass(frozen=True)
class Asked:
    """`batch`: rows at most; `delay_ms`: how long the first row of a batch may wait for more."""

    workload: str
    workers: int
    batch: int
    delay_ms: int
    port: int


def asked() -> Asked:
    workload, *numbers = (os.environ[name] for name in NAMES[:5])
    return Asked(workload, *map(int, numbers))
