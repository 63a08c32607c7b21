"""torch.compile in the worker.

Rules of the room
1. `torch.compile()` compiles nothing; the first call does, and may fail then. While verifying and measuring, a call
   that would compile again must raise instead: then the serving path is not stable and compiling is refused.
2. Everything set in the process (`freezing`, recompile limit, stance, dynamo's caches) is put back on `drop`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from runner.optimize.batch import Padded, Rows
from runner.optimize.bounds import Bounds, bounds_of
from runner.optimize.compile_plan import BUCKETS, STATIC, UNBACKED, CompilePlan
from runner.optimize.edge import Edge, Forward
from runner.optimize.guarded import Guarded, Unfit
from runner.optimize.step import Change, StepFailed
from runner.optimize.tensors import mapped, tensors_in

#: What torch says under the stance `fail_on_recompile`; it has no class of its own for it (2.13).
_WOULD_RECOMPILE = "Detected recompile when torch.compile stance is 'fail_on_recompile'"


class JustInTime(Change):
    def __init__(self, edge: Edge, plan: CompilePlan) -> None:
        self._edge = edge
        self._plan = plan
        self._settings = _Settings(plan)
        self._graphs = 0
        self._breaks = 0
        self._grad_seen = False
        self._compiled: Forward | None = None
        self.sizes = plan.sizes
        self.timeout = plan.timeout
        self.min_speedup = plan.min_speedup

    def on(self) -> None:
        if self._compiled is None:
            self._compiled = self._build()
        self._edge.inner = self._compiled

    def off(self) -> None:
        self._edge.inner = self._edge.own

    def proven(self) -> Mapping[str, Any]:
        graphs, breaks = _counted()
        compiles = graphs - self._graphs
        if not compiles:
            raise StepFailed("torch.compile found nothing to compile in this model")
        if self._plan.shapes == UNBACKED and breaks > self._breaks:
            # Often it is the symbol that breaks it; where it is not, the next kind of graph is no worse.
            raise StepFailed(f"graph breaks: {breaks - self._breaks}")
        torch.compiler.set_stance("fail_on_recompile")  # verify and measurement must meet only what is warm
        self.text = self._told()
        return {"compiles": compiles, "graphBreaks": breaks - self._breaks, "shapes": self._plan.shapes}

    def notes(self) -> tuple[str, ...]:
        notes = []
        if self._plan.shapes == STATIC:
            notes.append("shapes other than the sample's run eager")
        if self._plan.freezing and self._grad_seen:
            notes.append("not frozen: the handler calls the model with gradients on")
        return tuple(notes)

    def keep(self) -> None:
        assert self._compiled is not None
        self._edge.inner = Guarded(_never_recompiling(self._compiled, self._bounds()), self._edge.own)
        torch.compiler.set_stance("eager_on_recompile")

    def _bounds(self) -> Bounds:
        """Known where the sample is one call of the model."""
        if not self._edge.samples:
            return Bounds()
        sample = self._edge.inner_call(self._edge.samples[-1])
        return bounds_of(self._edge.module, self._edge.own, sample, self._edge.rows)

    def drop(self) -> None:
        self._compiled = None
        torch.compiler.set_stance("default")
        dynamo().reset()
        self._settings.restore()

    def _told(self) -> str:
        buckets = f"buckets {', '.join(map(str, self._plan.buckets))}"
        shapes = buckets if self._plan.shapes == BUCKETS else "dynamic" if self._plan.dynamic else "static"
        parts = [self._plan.backend, shapes]
        if self._plan.mode is not None:
            parts.insert(1, f"mode {self._plan.mode}")
        if self._plan.freezing and not self._grad_seen:
            parts.append("frozen")
        return ", ".join(parts)

    def _build(self) -> Forward:
        if self._plan.shapes in (UNBACKED, BUCKETS) and self._edge.rows is None:
            raise StepFailed("the sample does not show which dimensions are the batch")
        self._settings.apply()
        self._graphs, self._breaks = _counted()
        plan = self._plan
        compiled = torch.compile(
            self._edge.own,
            backend=plan.backend,
            mode=plan.mode,
            options=dict(plan.options) or None,
            dynamic=plan.dynamic,
            fullgraph=plan.fullgraph,
        )
        if plan.cuda_graphs:
            compiled = _own_memory(compiled)
        return self._seeing_grad(self._shaped(compiled))

    def _shaped(self, compiled: Forward) -> Forward:
        rows = self._edge.rows
        if self._plan.shapes == BUCKETS and rows is not None:
            return Padded(compiled, self._edge.own, self._plan.buckets, rows)
        if self._plan.shapes == UNBACKED and rows is not None:
            return _marking_first(compiled, rows)
        return compiled

    def _seeing_grad(self, compiled: Forward) -> Forward:
        def forward(*args: Any, **kwargs: Any) -> Any:
            self._grad_seen = self._grad_seen or torch.is_grad_enabled()
            return compiled(*args, **kwargs)

        return forward


class _Settings:
    """Compiler settings of the whole process. `options={"freezing": …}` would come too late: dynamo reads the
    global flag when it decides whether parameters are inputs of the graph."""

    def __init__(self, plan: CompilePlan) -> None:
        self._plan = plan
        self._before: tuple[bool, int, bool] | None = None

    def apply(self) -> None:
        inductor, dynamo = _configs()
        self._before = (inductor.freezing, dynamo.recompile_limit, dynamo.specialize_float)
        if self._plan.freezing:
            inductor.freezing = True
        inductor.fx_graph_cache = True  # torch's default by now; what the compile cache is for
        dynamo.specialize_float = True  # else a model's constants (eps, scale) become symbols and it is traced twice
        dynamo.recompile_limit = max(dynamo.recompile_limit, len(self._plan.sizes) + 1)

    def restore(self) -> None:
        if self._before is not None:
            inductor, dynamo = _configs()
            inductor.freezing, dynamo.recompile_limit, dynamo.specialize_float = self._before


def dynamo() -> Any:
    """Imported only when something is compiled: it costs a second, and a worker is to be ready within one."""
    import torch._dynamo

    return torch._dynamo


def _configs() -> tuple[Any, Any]:
    import torch._inductor.config

    return torch._inductor.config, dynamo().config


def _counted() -> tuple[int, int]:
    """Graphs and graph breaks so far in this process."""
    counters = dynamo().utils.counters
    # Branches on data are the second kind.
    breaks = sum(counters["graph_break"].values()) + sum(counters["unimplemented"].values())
    return counters["stats"]["unique_graphs"], breaks


def _marking_first(compiled: Forward, rows: Rows) -> Forward:
    """The first call, which compiles, carries the marks; later ones must fit without."""
    marked = False

    def forward(*args: Any, **kwargs: Any) -> Any:
        nonlocal marked
        if not marked:
            marked = True
            _mark_unbacked(rows.in_inputs(args, kwargs))
        return compiled(*args, **kwargs)

    return forward


def _mark_unbacked(tensors: list[torch.Tensor] | None) -> None:
    """Raises StepFailed when the call is not like the sample's."""
    if tensors is None:
        raise StepFailed("the model is called in different ways: which dimensions are the batch is not known")
    mark = dynamo().decorators.mark_unbacked
    # One name for all: the inputs' batch sizes are one symbol, not several that are compared (torch 2.12 and up).
    same = {"shape_id": "batch"} if "shape_id" in inspect.signature(mark).parameters else {}
    for tensor in tensors:
        mark(tensor, 0, **same)


def _own_memory(compiled: Forward) -> Callable[..., Any]:
    """CUDA graphs answer in memory that the next replay overwrites: every call is a step, every output a copy."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]  # torch's, unannotated
        return mapped(compiled(*args, **kwargs), torch.Tensor.clone)

    return forward


def _never_recompiling(compiled: Forward, bounds: Bounds) -> Forward:
    """Within the call a recompile is an error, so that it can be counted. Around it, for what handlers compile
    themselves, torch's stance is to run eager."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        bounds.check(tensors_in((args, kwargs)))
        try:
            with torch.compiler.set_stance("fail_on_recompile"):
                return compiled(*args, **kwargs)
        except RuntimeError as error:
            if _WOULD_RECOMPILE not in str(error):
                raise
            raise Unfit(str(error).strip().splitlines()[-1].strip()) from error

    return forward
