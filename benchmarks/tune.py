"""Does `archive tune` find what an exhaustive grid finds, and how much sooner?

For a model: every configuration of a grid is served and measured at each concurrency; then, for each limit, the tuner
searches the same space with an empty cache and an empty state. What both chose is measured again, side by side: two
servers, rounds in turn, medians. Writes DIR/tune-MODEL.json and .md. The grid resumes where an earlier call of the
same DIR ended.

    python benchmarks/tune.py --model digits|minilm [--slas 5ms,20ms,100ms] [--out DIR] [--rounds 7]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from runner.bench import machine
from runner.tune.asked import seconds
from runner.tune.choice import choose, meets
from runner.tune.facts import Goal, Load, Reading, pooled
from runner.tune.halving import CandidateFailed
from runner.tune.live import QuietBoard
from runner.tune.run import Asked, Tune
from runner.tune.space import Candidate, Wanted
from runner.tune.state import State
from runner.tune.trials import Trials

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"


@dataclass(frozen=True)
class Model:
    """What is searched of one example. `levels`: concurrencies of the grid."""

    example: str
    script: str
    archive: str
    slas: str
    wanted: Wanted
    levels: tuple[int, ...]


MODELS = {
    "digits": Model(
        "digits",
        "train.py",
        "digits.mar",
        "4ms,15ms,60ms",
        Wanted(("cpu",), ("fp32", "bf16"), (False, True), (1, 4, 8, 16, 32), (1, 2), (1, 2)),
        (1, 2, 4, 8, 16, 32, 64, 128, 256),
    ),
    "minilm": Model(
        "embedder",
        "prepare.py",
        "minilm.mar",
        "40ms,120ms,400ms",
        Wanted(("cpu",), ("fp32", "bf16"), (False,), (1, 4, 8, 16), (1, 2), (1, 2)),
        (1, 2, 4, 8, 16, 32, 64, 128),
    ),
}


def made(model: Model, folder: Path) -> Path:
    """The example's archive, in the folder."""
    target = folder / model.archive
    if not target.exists():
        project = folder / model.example
        shutil.copytree(EXAMPLES / model.example, project, dirs_exist_ok=True)
        subprocess.run([sys.executable, model.script], cwd=project, check=True)
        subprocess.run([sys.executable, "-m", "archiver", "create", "--force"], cwd=project, check=True)
        shutil.copy(project / model.archive, target)
    return target


def tuner(model: Model, archive: Path, sla: float | None, cache: Path, budget: float = 3600.0) -> Tune:
    """With a cache of its own: nothing is compiled yet, nothing known."""
    shutil.rmtree(cache, ignore_errors=True)
    os.environ["TORCH_ARCHIVE_CACHE"] = str(cache)
    asked = Asked(archive, Goal("throughput", sla), model.wanted, budget, fresh=True)
    work = cache / "work"
    work.mkdir(parents=True)
    return Tune(asked, QuietBoard(), work)


@dataclass
class Grid:
    """All of it: what was measured of each candidate, and the seconds that it took."""

    readings: dict[Candidate, dict[Load, Reading]]
    failed: dict[str, str]
    seconds: float


def grid(model: Model, archive: Path, folder: Path, each: float) -> Grid:
    """Every configuration that does not put more threads on the machine than it has cores, at each level."""
    cache, times = folder / "grid-cache", folder / f"grid-{model.example}.seconds"
    os.environ["TORCH_ARCHIVE_CACHE"] = str(cache)
    asked = Asked(archive, Goal("throughput", None), model.wanted, 1.0, state=folder / "unused.jsonl")
    one = Tune(asked, QuietBoard(), folder)
    state = State(folder / f"grid-{model.example}.jsonl", {"grid": model.example, "each": each}, fresh=False)
    before = float(times.read_text()) if times.exists() else 0.0
    begun = time.monotonic()
    cores = machine.describe()["cores"]
    candidates = [each for each in one.space.candidates() if each.cores <= cores]
    found = Grid({}, {}, 0.0)
    with Trials(
        archive, one.arguments, one.inputs.each, state, loads=lambda _: 0.0, sla=None, seed=0, kept=1
    ) as trials:
        for number, candidate in enumerate(candidates):
            told(f"grid {number + 1}/{len(candidates)}: {candidate.name}")
            try:
                done = {load: trials.read(candidate, load, each) for load in map(Load, model.levels)}
                found.readings[candidate] = done
            except CandidateFailed as failure:
                found.failed[candidate.name] = str(failure)
            found.seconds = before + time.monotonic() - begun
            times.write_text(str(found.seconds))
    return found


def side_by_side(
    tune: Tune, archive: Path, folder: Path, choices: Mapping[str, tuple[Candidate, Load]], rounds: int
) -> dict[str, list[Reading]]:
    """Rounds of each in turn, every second time in the other order; servers stay."""
    found: dict[str, list[Reading]] = {name: [] for name in choices}
    state = State(folder / "again.jsonl", {}, fresh=True)
    with Trials(archive, tune.arguments, tune.inputs.each, state, loads=lambda _: 0.0, sla=None, seed=0) as trials:
        for number in range(rounds):
            names = [*choices] if number % 2 == 0 else [*reversed(choices)]
            for name in names:
                found[name].append(trials.read(*choices[name], 2.0))
    return found


def compared(model: Model, archive: Path, folder: Path, whole: Grid, limit: float, rounds: int) -> dict[str, Any]:
    goal = Goal("throughput", limit)
    tune = tuner(model, archive, limit, folder / "tune-cache")
    told(f"tuning: p99 within {limit:g} ms")
    tune.run()
    if tune.report.stopped is not None:
        raise SystemExit(f"ended early: {tune.report.stopped}")
    best = choose({each: done.values() for each, done in whole.readings.items()}, goal, tune.space)
    chosen = tune.report.chosen
    assert best is not None and chosen is not None
    choices = {"grid": (best.candidate, best.reading.load), "tune": (chosen.candidate, chosen.reading.load)}
    again = side_by_side(tune, archive, folder, choices, rounds)
    typical = {name: pooled(each) for name, each in again.items()}
    return {
        "sla": limit,
        "gridSeconds": whole.seconds,
        "tuneSeconds": tune.report.seconds,
        "timeRatio": tune.report.seconds / whole.seconds,
        "measured": len(tune.report.measured),
        "met": {"grid": best.met, "tune": chosen.met},
        "choice": {name: f"{candidate.name} at {load.name}" for name, (candidate, load) in choices.items()},
        "found": {"grid": best.reading.throughput, "tune": chosen.reading.throughput},
        "again": {name: [reading.throughput for reading in each] for name, each in again.items()},
        "againP99": {name: each.p99 for name, each in typical.items()},
        "meets": {name: meets(each, goal) for name, each in typical.items()},
        "ratio": median(
            one.throughput / other.throughput for one, other in zip(again["tune"], again["grid"], strict=True)
        ),
    }


def table(model: str, results: Sequence[Mapping[str, Any]], whole: Grid, about: Mapping[str, Any]) -> Iterator[str]:
    yield f"# `archive tune` against a grid: {model}"
    yield ""
    yield (
        f"{about['processor']}, {about['cores']} cores, torch {about['torch']}, load average "
        f"{about['loadAverage']:g} before. Grid: {len(whole.readings)} configurations measured, "
        f"{len(whole.failed)} not served, {whole.seconds:.0f} s. `of grid`: answers a second of the tuner's choice "
        "over the grid's, median of rounds in turn, with the lowest and the highest."
    )
    yield ""
    yield "| p99 within | grid's choice | tuner's choice | of grid | p99 grid, tuner | time | of the grid's time |"
    yield "|---|---|---|---|---|---|---|"
    for each in results:
        pairs = [one / other for one, other in zip(each["again"]["tune"], each["again"]["grid"], strict=True)]
        p99 = each["againP99"]
        yield (
            f"| {each['sla']:g} ms | {each['choice']['grid']} | {each['choice']['tune']} | {each['ratio']:.3f} "
            f"({min(pairs):.2f} to {max(pairs):.2f}) | {p99['grid']:.1f}, {p99['tune']:.1f} ms | "
            f"{each['tuneSeconds']:.0f} s | {each['timeRatio']:.2f} |"
        )


def told(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="digits")
    parser.add_argument("--slas", help="limits of the p99, with commas")
    parser.add_argument("--out", type=Path, default=Path("tune-benchmark"))
    parser.add_argument("--seconds", type=float, default=1.0, help="of each level in the grid")
    parser.add_argument("--rounds", type=int, default=7, help="of both choices side by side")
    arguments = parser.parse_args()
    model, folder = MODELS[arguments.model], arguments.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    about = machine.describe()
    archive = made(model, folder)
    whole = grid(model, archive, folder, arguments.seconds)
    results = []
    for text in (arguments.slas or model.slas).split(","):
        limit = seconds("--slas", text, model.slas) * 1000
        results.append(compared(model, archive, folder, whole, limit, arguments.rounds))
        page = "\n".join(table(arguments.model, results, whole, about)) + "\n"
        (folder / f"tune-{arguments.model}.md").write_text(page)
        document = {"machine": about, "failed": whole.failed, "results": results}
        (folder / f"tune-{arguments.model}.json").write_text(json.dumps(document, indent=2))
    print(page)


if __name__ == "__main__":
    main()
