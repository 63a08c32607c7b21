"""pt2.compile: torch.compile so that no request ever meets the compiler.

Rules of the room
1. `torch.compile()` compiles nothing; the first call does, and may fail then. So a compiled model counts only
   after every batch size that needs a compile has run, on the serving path, within `pt2.timeout`.
2. Afterwards torch is told never to compile again: while verifying and measuring it must raise instead (then the
   serving path is not stable and the compiled model is refused), while serving eager answers and it is counted.
3. What cannot work here is left out before the attempt and said: CUDA graphs off CUDA, freezing off CPU.
4. Everything set in the process (`freezing`, recompile limit, stance, dynamo's caches) is put back on `drop`.
5. A failure of compiled code while serving costs one eager call, not a request.
6. Batches come in every size. One graph for all of them is tried first, its batch size a symbol that nothing may
   ask about; then torch's own dynamic shapes; then a few fixed sizes that batches are padded to. CUDA graphs
   know fixed sizes only.
"""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from archiver.config.model import Compile, ModelConfig
from runner.optimize.batch import Padded, Rows, powers_of_two
from runner.optimize.edge import Edge, Forward
from runner.optimize.step import Change, NotApplicable, StepFailed, Wish
from runner.optimize.tensors import mapped

_log = logging.getLogger("archive.optimize")

#: Consecutive failures of compiled code, each cured by eager, after which eager stays.
STRIKES = 3
#: Up to this batch size every size runs before READY; beyond it the sizes where compilers specialise.
_EVERY_SIZE = 16
_GRAPHS = "triton.cudagraphs"
#: How one compile serves several batch sizes, as the report calls it.
UNBACKED, DYNAMIC, STATIC, BUCKETS = "unbacked batch", "dynamic shapes", "a graph per size", "buckets"


@dataclass(frozen=True, slots=True)
class CompilePlan:
    """Arguments of torch.compile, worked out. `mode` is None once it is expanded into `options`. `shapes`: how
    batch sizes are served; `buckets` counts for BUCKETS only."""

    backend: str
    mode: str | None
    options: Mapping[str, Any]
    shapes: str
    buckets: tuple[int, ...]
    fullgraph: bool
    freezing: bool
    cuda_graphs: bool
    sizes: tuple[int, ...]
    timeout: float
    min_speedup: float

    def __str__(self) -> str:
        return self.shapes

    @property
    def dynamic(self) -> bool:
        """Whether one graph is for changing sizes."""
        return self.shapes in (UNBACKED, DYNAMIC)


class CompileStep:
    """The module's own forward, compiled; conversions at the edge stay outside the graph."""

    name = "compile"
    needs_sample = True

    def declared(self, config: ModelConfig, device: torch.device) -> Wish[CompilePlan] | None:
        declared = config.pt2.compile
        if declared is None or not declared.enable:
            return None
        mode, mode_notes = usable_mode(declared, device.type)
        freezing, freezing_notes = usable_freezing(declared, device.type)
        plan, *others = _plans(declared, config, mode, freezing=freezing, device_type=device.type)
        return Wish(
            declared=declared.backend if declared.mode is None else f"{declared.backend}, mode {declared.mode}",
            plan=plan,
            others=tuple(others),
            sizes=_verified_sizes(config.batch_size, plan),
            instead="eager",
            notes=(*mode_notes, *freezing_notes),
            required="pt2.fallback: fail" if config.pt2.fallback == "fail" else None,
        )

    def change(self, edge: Edge, plan: CompilePlan) -> Change:
        if isinstance(edge.module, _dynamo().OptimizedModule):
            raise NotApplicable("the handler compiled the model itself")
        if isinstance(edge.module, torch.jit.ScriptModule):
            raise NotApplicable("a TorchScript model is compiled already")
        check_backend(plan.backend)
        return _Compiled(edge, plan)


def usable_mode(declared: Compile, device_type: str) -> tuple[str | None, tuple[str, ...]]:
    """The mode without what this device cannot do."""
    if declared.mode == "reduce-overhead" and device_type != "cuda":
        return None, (f"mode reduce-overhead means CUDA graphs and does nothing on {device_type}",)
    return declared.mode, ()


def usable_freezing(declared: Compile, device_type: str) -> tuple[bool, tuple[str, ...]]:
    """Whether weights become constants of the graph: inductor on CPU, where it pays."""
    possible = device_type == "cpu" and declared.backend == "inductor"
    if declared.freezing is True and not possible:
        return False, (f"freezing left out: it is for inductor on cpu, not {declared.backend} on {device_type}",)
    return possible and declared.freezing is not False, ()


def batch_sizes(largest: int, *, every: bool) -> tuple[int, ...]:
    """The sizes to run before READY, the largest first so that memory pools fit the rest.

    A dynamic graph specialises on 0 and 1, on sizes that happen to equal another dimension and around vector
    widths; powers of two, their neighbours at the top and an odd size in between show that it does not.
    """
    if every or largest <= _EVERY_SIZE:
        return tuple(range(largest, 0, -1))
    sizes = {size for size in {*powers_of_two(largest), 3, largest // 3, largest - 1} if size <= largest}
    return tuple(sorted(sizes, reverse=True))


def padded_sizes(largest: int, buckets: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes to run before READY where batches are padded: each bucket as it is and with padding."""
    if largest <= _EVERY_SIZE:
        return tuple(range(largest, 0, -1))
    sizes = {*buckets, *(bucket - 1 for bucket in buckets), largest}
    return tuple(sorted(sizes - {0}, reverse=True))


def _verified_sizes(largest: int, plan: CompilePlan) -> tuple[int, ...]:
    """Beside 1 and batchSize: an odd size, and every bucket."""
    return (*plan.buckets, 3) if largest > 3 else plan.buckets


def check_backend(name: str) -> None:
    """Raises StepFailed for a backend that neither torch nor the user's code has registered."""
    known = _dynamo().list_backends(exclude_tags=None)
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(_dynamo().list_backends())}"
    raise StepFailed(f"no compile backend is called `{name}`; {hint}")


def _plans(
    declared: Compile, config: ModelConfig, mode: str | None, *, freezing: bool, device_type: str
) -> list[CompilePlan]:
    """What to try, in order."""
    options = dict(declared.options)
    if mode is not None and options and declared.backend == "inductor":
        options = {**_mode_options(mode), **options}  # torch takes one or the other
        mode = None
    graphs = device_type == "cuda" and (mode in ("reduce-overhead", "max-autotune") or bool(options.get(_GRAPHS)))
    static = CompilePlan(
        backend=declared.backend,
        mode=mode,
        options=options,
        shapes=STATIC,
        buckets=(),
        fullgraph=declared.fullgraph is True,
        freezing=freezing,
        cuda_graphs=graphs,
        sizes=batch_sizes(config.batch_size, every=True),
        timeout=config.pt2.timeout,
        min_speedup=config.pt2.min_speedup,
    )
    return [_shaped(static, shapes, config) for shapes in _ladder(declared, config, graphs=graphs)]


def _ladder(declared: Compile, config: ModelConfig, *, graphs: bool) -> list[str]:
    """Ways to serve every batch size, the best first."""
    if config.batch_size == 1 and config.pt2.buckets is None:
        return [DYNAMIC] if declared.dynamic is True else [STATIC]
    if graphs:
        return [BUCKETS, STATIC]
    free = {"auto": [UNBACKED, DYNAMIC, BUCKETS], True: [DYNAMIC], False: [STATIC]}[declared.dynamic]
    if config.pt2.buckets is None:
        return free
    return [BUCKETS, *(shapes for shapes in free if shapes != BUCKETS)]


def _shaped(static: CompilePlan, shapes: str, config: ModelConfig) -> CompilePlan:
    if shapes == STATIC:
        return static
    largest = config.batch_size
    if shapes != BUCKETS:
        return replace(static, shapes=shapes, sizes=batch_sizes(largest, every=False))
    buckets = config.pt2.buckets or powers_of_two(largest)
    return replace(static, shapes=shapes, buckets=buckets, sizes=padded_sizes(largest, buckets))


#: What torch says under the stance `fail_on_recompile`; it has no class of its own for it (2.13).
_WOULD_RECOMPILE = "Detected recompile when torch.compile stance is 'fail_on_recompile'"


class Guarded:
    """Compiled code with eager behind it. One failure is cured by one eager call; `STRIKES` in a row, for good.

    `failures` counts calls that only eager could answer, `recompiles` calls that nothing compiled fits: torch
    would have compiled, eager answers. A call that eager refuses as well is the input's fault and raises
    eager's error.
    """

    def __init__(self, compiled: Forward, eager: Forward) -> None:
        self._compiled = compiled
        self._eager = eager
        self._row = 0
        self.failures = 0
        self.recompiles = 0
        self.eager_only = False
        self.last_error: str | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.eager_only:
            return self._eager(*args, **kwargs)
        try:
            # Within the call a recompile is an error, so that it can be counted. Around it, for what handlers
            # compile themselves, torch's stance is to run eager.
            with torch.compiler.set_stance("fail_on_recompile"):
                output = self._compiled(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - generated code may raise anything; eager decides whose fault it is
            if _WOULD_RECOMPILE in str(error):
                return self._unfit(error, args, kwargs)
            return self._cure(error, args, kwargs)
        self._row = 0
        return output

    def _unfit(self, error: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.recompiles += 1
        if self.recompiles == 1:
            guard = str(error).strip().splitlines()[-1].strip()
            _log.warning("nothing compiled fits a call, eager answers such calls: %s", guard)
        return self._eager(*args, **kwargs)

    def _cure(self, error: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = self._eager(*args, **kwargs)
        self.failures += 1
        self._row += 1
        self.last_error = f"{type(error).__name__}: {error}"
        self.eager_only = self._row >= STRIKES
        for_good = ", and does so from now on" if self.eager_only else ""
        _log.warning("compiled code failed, eager answered%s: %s", for_good, self.last_error)
        return output


class _Compiled(Change):
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
        self._edge.inner = Guarded(self._compiled, self._edge.own)
        torch.compiler.set_stance("eager_on_recompile")

    def drop(self) -> None:
        self._compiled = None
        torch.compiler.set_stance("default")
        _dynamo().reset()
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


def _dynamo() -> Any:
    """Imported only when something is compiled: it costs a second, and a worker is to be ready within one."""
    import torch._dynamo

    return torch._dynamo


def _mode_options(mode: str) -> dict[str, Any]:
    from torch._inductor import list_mode_options

    return list_mode_options(mode)


def _configs() -> tuple[Any, Any]:
    import torch._inductor.config

    return torch._inductor.config, _dynamo().config


def _counted() -> tuple[int, int]:
    """Graphs and graph breaks so far in this process."""
    counters = _dynamo().utils.counters
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
    mark = _dynamo().decorators.mark_unbacked
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


def guard_of(module: nn.Module) -> Guarded | None:
    """The live guard of a compiled module: its failure counts. None when the module runs eager by decision."""
    edge = Edge.of(module)
    return edge.inner if edge is not None and isinstance(edge.inner, Guarded) else None
