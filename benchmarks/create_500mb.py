"""How long does `archive create` take for a 500 MB checkpoint, beside the least work that could do it?

The yardstick is `cp` plus one sha256 pass over the file. Both are run in turn within each round, so that a drift of
the machine falls on both; the medians and the ratio of each round are what to quote.

    python benchmarks/create_500mb.py [--megabytes 500] [--rounds 5] [--folder DIR]
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ARCHIVE = [sys.executable, "-m", "archiver"]
ROOT = Path(__file__).resolve().parents[1]
HANDLER = "def handle(data, context):\n    return [0 for _ in data or []]\n"
CHUNK = 16_000_000


def write_checkpoint(path: Path, megabytes: int) -> None:
    """A state dict of random numbers, which no compression makes smaller."""
    import torch

    torch.manual_seed(0)
    count, size = 50, megabytes * 1_000_000 // 4 // 50
    torch.save({f"w{index}": torch.randn(size) for index in range(count)}, path)


def create(checkpoint: Path) -> None:
    """One `archive create`, as a process of its own: what a person waits for."""
    folder = checkpoint.parent
    options = ["--model-name", "big", "--serialized-file", str(checkpoint), "--handler", str(folder / "handler.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*ARCHIVE, "create", *options, "--export-path", str(folder / "out"), "--force"]
    subprocess.run(command, check=True, capture_output=True, env=environment)


def copy_and_hash(checkpoint: Path) -> None:
    """`cp` and `sha256sum`, one after the other."""
    target = checkpoint.parent / "copy.pt"
    subprocess.run(["cp", checkpoint, target], check=True)
    subprocess.run(["sha256sum", checkpoint], check=True, capture_output=True)


def seconds(work: Callable[[Path], None], checkpoint: Path) -> float:
    """Wall time of one run, from a state without yesterday's output and with nothing left to write back."""
    for leftover in ("out", "copy.pt"):
        path = checkpoint.parent / leftover
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    os.sync()
    started = time.perf_counter()
    work(checkpoint)
    return time.perf_counter() - started


def measure(checkpoint: Path, rounds: int) -> list[tuple[float, float]]:
    """(create, yardstick) in seconds for each round, in alternating order."""
    results = []
    for number in range(rounds):
        order = [create, copy_and_hash] if number % 2 == 0 else [copy_and_hash, create]
        taken = {work: seconds(work, checkpoint) for work in order}
        results.append((taken[create], taken[copy_and_hash]))
    return results


def warm_page_cache(path: Path) -> None:
    """Read the file once, so that neither side pays for the disk."""
    with path.open("rb") as stream:
        while stream.read(CHUNK):
            pass


def report(results: list[tuple[float, float]], megabytes: float) -> None:
    ours, least = (statistics.median(column) for column in zip(*results, strict=True))
    ratio = statistics.median(create / yardstick for create, yardstick in results)
    print(f"checkpoint {megabytes:.0f} MB, {len(results)} rounds, {os.cpu_count()} cores, {platform.machine()}")
    print(f"{'':22}{'median':>9}{'best':>9}{'MB/s':>9}")
    for name, median, best in (
        ("archive create", ours, min(create for create, _ in results)),
        ("cp + sha256sum", least, min(yardstick for _, yardstick in results)),
    ):
        print(f"{name:22}{median:8.2f}s{best:8.2f}s{megabytes / median:9.0f}")
    print(f"ratio {ratio:.2f} (median of the rounds)")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write; on the disk that matters to you")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        checkpoint = Path(folder, "big.pt")
        write_checkpoint(checkpoint, options.megabytes)
        Path(folder, "handler.py").write_text(HANDLER)
        warm_page_cache(checkpoint)
        report(measure(checkpoint, options.rounds), checkpoint.stat().st_size / 1e6)


if __name__ == "__main__":
    main()
