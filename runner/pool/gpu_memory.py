"""Whether workers fit into the GPUs' memory, asked before they are loaded: an estimate beats an hour of restarts.

A worker needs its weights and a CUDA context. How much more its activations take nobody knows before it runs, so
this refuses only what cannot work.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence

from archiver.errors import ServeFailed

log = logging.getLogger("archive.server")

#: Bytes of a CUDA context with torch's kernels; about 0.5 GB, see NVIDIA's and torch's figures.
CONTEXT = 500_000_000
_SECONDS = 10


def free_memory() -> dict[int, int]:
    """GPU number → free bytes, by nvidia-smi; empty where there is none. The front end itself never touches CUDA."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    command = [tool, "--query-gpu=index,memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
        rows = (line.split(",") for line in done.stdout.splitlines() if line.strip())
        return {int(index): int(free) << 20 for index, free in rows}
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        log.warning("GPU memory is not known, workers are loaded without a check: %s", error)
        return {}


def check_fit(model: str, devices: Sequence[str], weights: int, free: Mapping[int, int]) -> None:
    """Raises ServeFailed when the workers of one GPU cannot hold their weights. `weights`: bytes of one copy."""
    for device, workers in Counter(devices).items():
        number = int(device.rpartition(":")[2])
        needed = workers * (weights + CONTEXT)
        if number in free and needed > free[number]:
            raise ServeFailed(
                f"{model}: {workers} worker{'s' if workers > 1 else ''} on GPU {number} need at least"
                f" {needed / 1e9:.1f} GB, {free[number] / 1e9:.1f} GB are free",
                hint="fewer workers (maxWorkers, --workers), other deviceIds, or smaller weights (precision)",
            )
