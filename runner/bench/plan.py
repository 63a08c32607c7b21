"""TorchServe's benchmark YAML → benches: one per model, mode, processor, number of workers, batch size and delay.

    mnist:
      eager_mode: {url: mnist.mar, workers: [2, 4], batch_size: [1, 8], batch_delay: 100, input: 0.png,
                   requests: 10000, concurrency: 100, processors: [cpu, {gpus: all}]}

A file of its `auto_benchmark.py`, which lists such files under `models`, is read as well. What has no meaning here
(benchmark_engine, exec_env, backend_profiling, the commands for metrics and reports) is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from archiver.config.source import read_source
from archiver.errors import ArchiveError, InvalidInput, NotFound
from runner.bench.asked import Asked, serve_arguments
from runner.bench.sender import Way

ENDINGS = (".yaml", ".yml")
_FOLDER = "models_config"
_SHORT = {"deviceType": "", "batchSize": "b", "maxBatchDelay": "d"}


class WrongPlan(ArchiveError):
    """A benchmark file says something that cannot be measured."""

    code = "bench/wrong-plan"


@dataclass(frozen=True, slots=True)
class Case:
    """One bench of a plan; `name` is a folder's."""

    name: str
    asked: Asked


def cases(file: Path, common: Asked) -> list[Case]:
    """In the order of the file. What it does not say is as in `common`. Raises InvalidInput, NotFound, WrongPlan."""
    found = [case for each in _files(file) for case in _of_file(each, common)]
    if not found:
        raise WrongPlan("no model to measure", where=str(file))
    return found


def _files(file: Path) -> list[Path]:
    """The file, or those that it lists."""
    models = _read(file).get("models")
    if not isinstance(models, list):
        return [file]
    return [_existing(str(name), file, (file.parent / _FOLDER, file.parent.parent / _FOLDER)) for name in models]


def _read(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        raise NotFound(f"there is no benchmark file {file}")
    source = read_source(file.read_bytes(), str(file))
    if source.findings:
        raise InvalidInput(source.findings, spared="nothing was measured")
    return source.values


def _of_file(file: Path, common: Asked) -> Iterator[Case]:
    for model, modes in _read(file).items():
        if not isinstance(modes, Mapping) or not all(isinstance(each, Mapping) for each in modes.values()):
            raise WrongPlan(f"{model}: expected a mapping of modes to settings", where=str(file))
        for mode, values in modes.items():
            yield from _of_mode(file, f"{model}-{mode}", values, common)


def _of_mode(file: Path, name: str, values: Mapping[str, Any], common: Asked) -> Iterator[Case]:
    if "url" not in values:
        raise WrongPlan(f"{name}: `url` names no archive", where=str(file))
    asked = replace(
        common,
        archive=_archive(file, str(values["url"])),
        input=_existing(str(values["input"]), file) if "input" in values else common.input,
        ways=tuple(_ways(file, name, values, common)),
    )
    counts = [_counts(file, name, key, values.get(key)) for key in ("workers", "batch_size", "batch_delay")]
    for device, (workers, size, delay) in product(_devices(file, name, values), product(*counts)):
        yield _case(name, asked, workers, {"deviceType": device, "batchSize": size, "maxBatchDelay": delay})


def _case(name: str, asked: Asked, workers: int | None, wanted: Mapping[str, int | str | None]) -> Case:
    """With what the plan says of the config; the name tells it: `mnist-eager_mode-w4-cpu-b8-d100`."""
    flags = {key: value for key, value in wanted.items() if value is not None}
    settings = tuple(f"{key}={value}" for key, value in flags.items())
    parts = [name, *([] if workers is None else [f"w{workers}"]), *(f"{_SHORT[key]}{n}" for key, n in flags.items())]
    count = {} if workers is None else {"minWorkers": workers, "maxWorkers": workers}
    arguments = serve_arguments(workers, settings, asked.trust)
    return Case("-".join(parts), replace(asked, arguments=arguments, flags={**flags, **count}))


def _ways(file: Path, name: str, values: Mapping[str, Any], common: Asked) -> Iterator[Way]:
    """A closed loop for each `concurrency`, of `requests` each."""
    (requests, *_) = _counts(file, name, "requests", values.get("requests"))
    for concurrency in _counts(file, name, "concurrency", values.get("concurrency")):
        if concurrency is None:
            yield from (way if way.rate else replace(way, count=requests or way.count) for way in common.ways)
        else:
            first = common.ways[0]
            yield replace(first, concurrency=concurrency, rate=None, count=requests or first.count)


def _counts(file: Path, name: str, key: str, value: Any) -> list[int | None]:
    """A number, several, or none. Raises WrongPlan."""
    if value is None:
        return [None]
    several = value if isinstance(value, list) else [value]
    least = 0 if key == "batch_delay" else 1
    if not several or not all(type(each) is int and each >= least for each in several):
        raise WrongPlan(f"{name}: {key} must be whole numbers from {least} on, not {value}", where=str(file))
    return list(several)


def _devices(file: Path, name: str, values: Mapping[str, Any]) -> list[str | None]:
    """`cpu`, or a mapping with `gpus`; the archive's own where nothing is said."""
    found: list[str | None] = []
    wanted = values.get("processors")
    for each in wanted if isinstance(wanted, list) and wanted else [wanted]:
        if each is None or each == "cpu":
            found.append(each)
        elif isinstance(each, Mapping) and "gpus" in each:
            found.append("gpu")
        else:
            raise WrongPlan(f"{name}: processors must be `cpu` or `gpus: all`, not {each}", where=str(file))
    return found


def _archive(file: Path, url: str) -> Path:
    if "://" in url and not url.startswith("file://"):
        name = url.rpartition("/")[2]
        hint = f"download it beside {file.name} and write `url: {name}`"
        beside = file.parent / name
        if beside.exists():
            return beside
        raise WrongPlan(f"{url} is not on this machine", where=str(file), hint=hint)
    return _existing(url.removeprefix("file://"), file)


def _existing(name: str, file: Path, more: tuple[Path, ...] = ()) -> Path:
    """As seen from the working directory, else from the file. Raises NotFound."""
    for folder in (Path(), file.parent, *more):
        if (folder / name).exists():
            return folder / name
    raise NotFound(f"{file} names {name}, which is not there")
