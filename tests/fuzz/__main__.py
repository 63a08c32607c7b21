"""`python -m tests.fuzz [TARGET…]`: each target for a while; a table, and exit code 1 where something broke."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import engines, targets

#: What a run leaves: inputs that reach new code, crashes and their output. Ignored by git.
_KEPT = Path(".fuzz")
#: Seconds beyond its own after which an engine is ended.
_PATIENCE = 120


@dataclass(frozen=True)
class Run:
    """How a target fared. `output`: a file."""

    target: str
    tried: int
    seconds: float
    output: Path
    is_broken: bool

    def __str__(self) -> str:
        rate = self.tried / self.seconds if self.seconds else 0.0
        verdict = f"BROKEN, see {self.output}" if self.is_broken else "ok"
        return f"{self.target:<10} {self.tried:>10,} inputs {rate:>9,.0f}/s  {verdict}"


def run(name: str, engine: str, seconds: float) -> Run:
    """Fuzz one target in a process of its own."""
    folder = _KEPT / name
    folder.mkdir(parents=True, exist_ok=True)
    output, start = folder / "output.txt", time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz.engines", engine, name, str(seconds), str(folder)]
    with output.open("wb") as file:
        try:
            code = subprocess.run(command, stdout=file, stderr=file, timeout=seconds + _PATIENCE).returncode
        except subprocess.TimeoutExpired:
            code = 1
    return Run(name, _tried(output), time.monotonic() - start, output, code != 0)


def _tried(output: Path) -> int:
    """What the engine said last; 0 where it did not come to that."""
    lines = output.read_text(errors="replace").splitlines()
    counts = [line.removeprefix(engines.TRIED) for line in lines if line.startswith(engines.TRIED)]
    return int(counts[-1]) if counts else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(targets.TARGETS))
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--engine", choices=("atheris", "hypothesis"), default=engines.best())
    options = parser.parse_args()
    if unknown := [name for name in options.targets if name not in targets.TARGETS]:
        parser.error(f"there is no target {unknown[0]}; there are: {', '.join(targets.TARGETS)}")
    print(f"{options.engine}, {options.seconds:g} s for each target")
    broken = False
    for name in options.targets or targets.TARGETS:
        done = run(name, options.engine, options.seconds)
        print(done, flush=True)
        broken |= done.is_broken
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
