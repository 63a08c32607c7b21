"""What do the declared optimisations bring? Every variant of a model loaded as a worker loads it, timed in turn.

For each model: as loaded, bf16, int8 (and fp16, fp8 on a GPU), each eager, compiled with an empty cache and compiled
before. A process per variant stays alive, and each round asks all of them, so that a drift of the machine falls on
all; figures are medians of the rounds. Rows: milliseconds per batch, factor to eager fp32, seconds to load.

    python benchmarks/optimise.py [--model minilm|resnet50] [--device cpu|cuda] [--batches 1,8,32] [--rounds 3]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from archiver.manifest import Manifest
from runner import wire
from runner.local import order, settled
from runner.offline.process import LoadedModel

HERE = Path(__file__).resolve().parent
COMPILE = {"pt2": {"compile": {"enable": True, "backend": "inductor"}, "minSpeedup": 0.01, "timeout": 600}}
GRAPHS = {"pt2": {**COMPILE["pt2"], "compile": {**COMPILE["pt2"]["compile"], "mode": "reduce-overhead"}}}
INT8 = {"quantization": {"scheme": "int8-dynamic"}, "verify": {"minCosine": 0.9}}
FP8 = {"quantization": {"scheme": "fp8-dynamic"}, "precision": "bf16", "verify": {"minCosine": 0.9}}
NUMBERS: dict[str, dict[str, Mapping[str, Any]]] = {
    "cpu": {"fp32": {}, "bf16": {"precision": "bf16"}, "int8": INT8},
    "cuda": {"fp32": {}, "fp16": {"precision": "fp16"}, "bf16": {"precision": "bf16"}, "fp8": FP8},
}
SECONDS = 0.5
MEMORY: dict[str, Mapping[str, Any]] = {"resnet50": {"memoryFormat": "channels_last"}, "minilm": {}}


@dataclass
class Variant:
    """One way to run the model; `times`: batch size → milliseconds of the model, one per round."""

    name: str
    model: LoadedModel
    times: dict[int, list[float]] = field(default_factory=dict)

    def ask(self, batch: int) -> None:
        self.times.setdefault(batch, []).append(self.model.milliseconds(batch, SECONDS, stage="inference"))

    def median(self, batch: int) -> float:
        return statistics.median(self.times[batch])

    @property
    def applied(self) -> str:
        steps = (step for step in self.model.report["steps"] if step["declared"] and step["name"] != "threads")
        return "; ".join(f"{step['name']}: {step['applied']}" for step in steps) or "as loaded"


def model_folder(name: str, folder: Path) -> Path:
    """A folder with what the model's archive would hold."""
    source = HERE / "resnet50" if name == "resnet50" else HERE.parent / "examples" / "embedder"
    target = folder / name
    shutil.copytree(source, target)
    if name == "minilm":
        subprocess.run([sys.executable, "prepare.py"], cwd=target, check=True)
    return target


def manifest_of(name: str) -> Manifest:
    files = {"serialized_file": "model.safetensors", "model_file": "model.py"} if name == "minilm" else {}
    return Manifest(name, "1.0", handler="handler.py", **files)


def ordered(model: Path, flags: Mapping[str, Any], arguments: argparse.Namespace, cache: Path) -> wire.Load:
    """What a worker would be told to load."""
    base = {"batchSize": max(arguments.batches), "precision": "fp32", **MEMORY[arguments.model]}
    text = (model / "model-config.yaml").read_text()
    here = settled(text, "model-config.yaml", arguments.device, {**base, **flags})
    load = order(model, manifest_of(arguments.model), here, trusted=False)
    load.threads = arguments.threads
    load.compile_cache = str(cache)
    load.digest = arguments.model
    return load


def variants(device: str) -> dict[str, tuple[Mapping[str, Any], str]]:
    """Name → flags and the cache that it uses: its own, empty one or that of the variant before."""
    found: dict[str, tuple[Mapping[str, Any], str]] = {}
    for numbers, flags in NUMBERS[device].items():
        if "quantization" not in flags:  # eager pays for every conversion
            found[f"{numbers} eager"] = (flags, "none")
        found[f"{numbers} compiled"] = ({**flags, **COMPILE}, numbers)
        found[f"{numbers} compiled before"] = ({**flags, **COMPILE}, numbers)
        if device == "cuda":
            found[f"{numbers} CUDA graphs"] = ({**flags, **GRAPHS}, f"{numbers}-graphs")
    return found


def measured(arguments: argparse.Namespace) -> list[Variant]:
    with tempfile.TemporaryDirectory(prefix="archive-bench-") as folder, ExitStack() as stack:
        model = model_folder(arguments.model, Path(folder))
        found = []
        for name, (flags, cache) in variants(arguments.device).items():
            load = ordered(model, flags, arguments, Path(folder) / cache)
            found.append(Variant(name, stack.enter_context(LoadedModel(load))))
            print(f"{name}: {found[-1].model.seconds:.1f} s, {found[-1].applied}", file=sys.stderr)
        for turn in range(arguments.rounds):
            for variant in found if turn % 2 == 0 else reversed(found):
                for batch in arguments.batches:
                    variant.ask(batch)
        return found


def report(found: list[Variant], batches: list[int]) -> Iterator[str]:
    """A table in Markdown."""
    base = found[0]
    yield "| | " + " | ".join(f"batch {batch}, ms (× eager fp32)" for batch in batches) + " | load, s | applied |"
    yield "|---" * (len(batches) + 3) + "|"
    for each in found:
        cells = (f"{each.median(b):.2f} ({base.median(b) / each.median(b):.2f})" for b in batches)
        yield f"| {each.name} | {' | '.join(cells)} | {each.model.seconds:.1f} | {each.applied} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(MEMORY), default="minilm")
    parser.add_argument("--device", choices=sorted(NUMBERS), default="cpu")
    parser.add_argument("--batches", type=lambda text: [int(size) for size in text.split(",")], default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    for line in report(measured(arguments), arguments.batches):
        print(line)


if __name__ == "__main__":
    main()
