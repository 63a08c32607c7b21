"""torch.export and AOTInductor: the model as a package, made once and loaded by every worker.

The package takes each batch size and, for token models, each length. It is verified and measured like everything
else that the pipeline switches on; here it is only made, kept and found again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from runner.optimize.bounds import bounds_of
from runner.optimize.compile_plan import CompilePlan
from runner.optimize.edge import Call, Edge, Forward
from runner.optimize.guarded import Guarded
from runner.optimize.lengths import check_lengths
from runner.optimize.package import PROGRAM, Free, Program, build, load, same_structure, write_sample
from runner.optimize.step import Change, StepFailed
from runner.optimize.tensors import tensors_in

_FOLDER = "package"


def is_made(kept: Path | None) -> bool:
    """Whether a package lies in the folder."""
    return kept is not None and (kept / _FOLDER / PROGRAM).is_file()


class AheadOfTime(Change):
    """The package for the module's own forward: found in `kept`, else made there, else made for this process."""

    def __init__(self, edge: Edge, plan: CompilePlan, kept: Path | None) -> None:
        self._edge = edge
        self._plan = plan
        self._kept = kept
        self._found = is_made(kept)
        self._compiled: Forward | None = None
        self.sizes = plan.sizes
        self.timeout = plan.timeout
        self.min_speedup = plan.min_speedup
        self.text = ", ".join(["inductor", "ahead of time", *(["frozen"] if plan.freezing else [])])

    def on(self) -> None:
        if self._compiled is None:
            self._compiled = self._opened()
        self._edge.inner = self._compiled

    def off(self) -> None:
        self._edge.inner = self._edge.own

    def proven(self) -> Mapping[str, Any]:
        assert self._compiled is not None, "this is a bug: proven before it was switched on"
        lengths = check_lengths(self._compiled, self._edge.own, self._inner_sample(), self._edge.rows)
        return {"compiles": 0 if self._found else 1, "graphBreaks": 0, "shapes": str(self._plan)} | lengths

    def keep(self) -> None:
        assert self._compiled is not None, "this is a bug: kept before it was switched on"
        self._edge.inner = Guarded(self._compiled, self._edge.own)

    def drop(self) -> None:
        self._compiled = None

    def _opened(self) -> Forward:
        sample = self._inner_sample()
        if self._kept is not None:
            return self._from(self._kept / _FOLDER, sample)
        with tempfile.TemporaryDirectory(prefix="torch-archive-") as folder:
            return self._from(Path(folder), sample)

    def _from(self, folder: Path, sample: Call) -> Forward:
        device = tensors_in(sample.inputs)[0].device
        if (folder / PROGRAM).is_file():
            return load(folder, sample, device)
        build(self._program(sample), self._free(sample), self._options(), folder)
        compiled = load(folder, sample, device)
        write_sample(folder, compiled, sample)
        return compiled

    def _inner_sample(self) -> Call:
        """The largest batch as the module itself gets it, behind what other steps do at the edge."""
        if not self._edge.samples:
            raise StepFailed("the handler does not call the model exactly once per batch")
        one, many = self._edge.samples
        if not same_structure(one.inputs, many.inputs) or not same_structure(one.output, many.output):
            raise StepFailed("what the model takes or returns depends on the batch size")
        if not tensors_in(many.inputs):
            raise StepFailed("the model takes no tensors")
        return self._edge.inner_call(many)

    def _program(self, sample: Call) -> Program:
        return Program(self._edge.module, self._edge.own, sample, self._around)

    @contextmanager
    def _around(self) -> Iterator[None]:
        """What stands around a call in service. The edge itself is no part of the graph."""
        self._edge.detach()
        try:
            with ExitStack() as stack:
                for layer in self._edge.layers:
                    stack.enter_context(layer.context())
                yield
        finally:
            self._edge.attach()

    def _free(self, sample: Call) -> Free:
        rows, tensors = self._edge.rows, tensors_in(sample.inputs)
        bounds = bounds_of(self._edge.module, self._edge.own, sample, rows)
        largest = max(self._plan.sizes)
        if rows is None:
            if largest > 1:
                raise StepFailed("the sample does not show which dimensions are the batch")
            return Free(tuple({} for _ in tensors), 1, bounds)
        batch = ({0: "batch"} if has_rows else {} for has_rows in rows.inputs)
        lengths = (dict.fromkeys(dims, "length") for dims in rows.lengths)
        return Free(tuple({**a, **b} for a, b in zip(batch, lengths, strict=True)), largest, bounds)

    def _options(self) -> dict[str, Any]:
        """Inductor's. The thread count is left to the worker that runs the code."""
        freezing = {"freezing": True} if self._plan.freezing else {}
        return {**self._plan.inductor_options(), **freezing, "cpp.dynamic_threads": True}
