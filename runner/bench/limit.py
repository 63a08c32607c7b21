"""What the model could do: the same handler in an offline loop, as many processes as the server has workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from msgspec import structs

from archiver.store import Unpacked
from runner.bench.inputs import Inputs
from runner.bench.report import Level, Limit
from runner.local import served, settled_archive
from runner.offline.process import LoadedModel

#: Rounds at each batch size, and their seconds; what the first batch costs is in none of them.
_ROUNDS, _SECONDS, _FIRST = 3, 0.5, 0.1


def measure(
    opened: Unpacked,
    flags: Mapping[str, Any],
    *,
    workers: int,
    threads: int,
    batches: Iterable[int],
    inputs: Inputs,
    folder: Path,
    trusted: bool,
) -> Limit:
    """Rows a second at each batch size. `inputs` go through `folder`, which the processes read.

    Raises ModelFailed.
    """
    here = settled_archive(opened, None, flags)
    load = structs.replace(served(opened, here, trusted=trusted), threads=threads)
    files = inputs.written(folder)
    with ExitStack() as stack, ThreadPoolExecutor(workers) as pool:
        models = list(pool.map(lambda _: LoadedModel(load), range(workers)))
        for model in models:
            stack.enter_context(model)
            model.use(files)
        rates = {str(batch): _rate(models, pool, batch) for batch in sorted({*batches})}
    return Limit(workers, threads, rates)


def _rate(models: Sequence[LoadedModel], pool: ThreadPoolExecutor, batch: int) -> float:
    """The median of rounds in which all of them run at the same time, as in the server."""
    list(pool.map(lambda model: model.rate(batch, _FIRST), models))
    return median(sum(pool.map(lambda model: model.rate(batch, _SECONDS), models), 0.0) for _ in range(_ROUNDS))


def batch_of(level: Level) -> int | None:
    """The batch size that the server made of this level on average; None when it does not tell."""
    sizes = [each.server.mean_batch for each in level.rounds if each.server is not None]
    return max(1, round(sum(sizes) / len(sizes))) if sizes else None
