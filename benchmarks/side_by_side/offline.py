"""The machine and the workload without any server, just before the servers are measured."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.environments import CannotPrepare, lacking, python_of
from benchmarks.side_by_side.running import APPS, ENVIRONMENT
from benchmarks.side_by_side.servers import PLAIN_APP


@dataclass(frozen=True, slots=True)
class Offline:
    """`outputs`: what the workload says of its samples. The rest is as in `records.Calibration`."""

    loops: float
    milliseconds: float
    rows: float
    outputs: list[Any]


def measure(workload: str, seconds: float, cache: Path) -> Offline:
    """In a process of its own, in the plain app's environment. Raises CannotPrepare when that is not there."""
    reason = lacking(PLAIN_APP, cache)
    if reason is not None:
        raise CannotPrepare(
            f"without the environment of {PLAIN_APP.name} there is no answer to compare with: {reason}"
        )
    command = [str(python_of(PLAIN_APP, cache)), str(APPS / "offline.py"), workload, str(seconds)]
    done = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True)
    if done.returncode != 0:
        last = "\n  ".join(done.stderr.splitlines()[-3:])
        raise CannotPrepare(f"the loop without a server ended with status {done.returncode}:\n  {last}")
    return Offline(**json.loads(done.stdout))
