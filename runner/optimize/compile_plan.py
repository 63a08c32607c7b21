"""What to compile and how, worked out from the config before anything is tried. Pure but for torch's table of modes.

Batches come in every size. A package made ahead of time takes them all; so does one graph whose batch size is a
symbol that nothing may ask about; then come torch's own dynamic shapes, and last a few fixed sizes that batches are
padded to. CUDA graphs know fixed sizes only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from archiver.config.model import Compile, ModelConfig
from runner.optimize.batch import powers_of_two

#: Up to this batch size every size runs before READY; beyond it the sizes where compilers specialise.
_EVERY_SIZE = 16
_GRAPHS = "triton.cudagraphs"
#: How one compile serves several batch sizes, as the report calls it.
AHEAD, UNBACKED, DYNAMIC = "ahead of time", "unbacked batch", "dynamic shapes"
STATIC, BUCKETS = "a graph per size", "buckets"


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
        return self.shapes in (AHEAD, UNBACKED, DYNAMIC)

    def inductor_options(self) -> dict[str, Any]:
        """`mode` and `options` as one table."""
        return {**(_mode_options(self.mode) if self.mode is not None else {}), **self.options}


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


def verified_sizes(largest: int, plan: CompilePlan) -> tuple[int, ...]:
    """Beside 1 and batchSize: an odd size, and every bucket."""
    return (*plan.buckets, 3) if largest > 3 else plan.buckets


def plans(
    declared: Compile, config: ModelConfig, mode: str | None, *, freezing: bool, device_type: str, ahead: bool
) -> list[CompilePlan]:
    """What to try, in order. `ahead`: whether a package is wanted where one can be made."""
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
    ladder = _ladder(declared, config, graphs=graphs)
    if ahead and not graphs and can_be_packaged(declared, config):
        ladder.insert(0, AHEAD)
    return [_shaped(static, shapes, config) for shapes in ladder]


def can_be_packaged(declared: Compile, config: ModelConfig) -> bool:
    """Whether the config leaves open how the graph is made: a package is inductor's, and one for all sizes.
    Under autocast the graph would have to know what surrounds its calls."""
    free = declared.backend == "inductor" and declared.dynamic != False and config.pt2.buckets is None  # noqa: E712  "auto" is a third value
    return free and config.precision.mode != "autocast"


def _ladder(declared: Compile, config: ModelConfig, *, graphs: bool) -> list[str]:
    """Ways of torch.compile to serve every batch size, the best first."""
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
    if shapes == AHEAD:
        # No guards, so nothing can specialise: three sizes show that it runs.
        return replace(static, shapes=shapes, sizes=tuple(sorted({largest, min(largest, 3), 1}, reverse=True)))
    if shapes != BUCKETS:
        return replace(static, shapes=shapes, sizes=batch_sizes(largest, every=False))
    buckets = config.pt2.buckets or powers_of_two(largest)
    return replace(static, shapes=shapes, buckets=buckets, sizes=padded_sizes(largest, buckets))


def _mode_options(mode: str) -> dict[str, Any]:
    from torch._inductor import list_mode_options

    return list_mode_options(mode)
