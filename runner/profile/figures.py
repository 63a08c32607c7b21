"""What the passes told and the trace shows → the figures that people read. Pure. Milliseconds are of one batch."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from runner.profile.events import Event, Kind, Placed, placed
from runner.profile.messages import Recorded
from runner.profile.tree import Branch, tree

#: Ranges: of a whole batch, of the handler's methods where it has them, of the module.
BATCH, FORWARD = "batch", "forward"
STAGES = ("preprocess", "collate", "inference", "split", "postprocess")
_ORDER = ("preprocess", "collate", "inference", FORWARD, "split", "postprocess")

MATRIX, COPYING, OTHER, PYTHON, COMPILED = "matrix products", "copies", "other operators", "Python", "compiled code"
#: Operators that multiply, convolve or attend, however they are spelled: addmm, mkldnn_convolution, sdpa's kinds.
_MATRIX = re.compile(
    r"(?:^|::|_)(?:add|sp|scaled_)?(?:b|ba?dd?b)?mm(?:_|$)|conv|linear|attention|matmul|gemm|lstm|gru"
)
_COPIES = {"aten::copy_", "aten::_to_copy", "aten::to", "aten::clone", "aten::contiguous"}
_DIRECTION = re.compile(r"(HtoD|DtoH|DtoD|PtoP)")


class Stage(msgspec.Struct, frozen=True):
    """`depth` 1: part of the stage above it."""

    name: str
    ms: float
    share: float
    depth: int = 0


class Operator(msgspec.Struct, frozen=True, rename="camel"):
    """Own time without what it called: `share` of a batch, `calls` per batch. `device_ms`: of its kernels on a GPU.
    `shapes`: those that took longest."""

    name: str
    kind: str
    calls: float
    share: float
    ms: float
    device_ms: float
    shapes: str


class Padding(msgspec.Struct, frozen=True, rename="camel"):
    """Parts of tokens and of rows that are padding. `lost_ms`: what it costs; `measured`: against batches without
    any, else it is the same part of forward."""

    tokens: float
    rows: float
    lost_ms: float
    measured: bool


class Transfer(msgspec.Struct, frozen=True):
    """Copies to and from the device, of one batch."""

    direction: str
    count: float
    bytes: float
    ms: float


class Figures(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`profiled_ms`: a batch under the profiler, for how far the shares can be trusted. `unfit`, `failed`: calls of
    all batches that eager answered in place of compiled code. `device_share`: part of a batch that the GPU computed.
    """

    batch: int
    batches: int
    ms: float
    profiled_ms: float
    stages: list[Stage]
    operators: list[Operator]
    kinds: dict[str, float]
    flame: Branch
    padding: Padding | None
    transfers: list[Transfer]
    unfit: int
    failed: int
    device_share: float | None
    not_apart: str | None

    @property
    def rows_per_second(self) -> float:
        """Of one process."""
        return self.batch / self.ms * 1000

    @property
    def forward_share(self) -> float:
        """Part of a batch that is the module's forward; 0 where that is not known."""
        return next((stage.share for stage in self.stages if stage.name == FORWARD), 0.0)

    @property
    def handler_share(self) -> float | None:
        """Part of a batch that is not the module's forward; None where that is not known."""
        known = any(stage.name == FORWARD for stage in self.stages)
        return max(1 - self.forward_share, 0.0) if known else None

    def share(self, *kinds: str) -> float:
        """Of the batch, by kinds of own time."""
        return sum(self.kinds.get(kind, 0.0) for kind in kinds)


def figures(
    recorded: Recorded, events: Sequence[Event], batch: int, buckets: Sequence[int], *, compiled: bool
) -> Figures:
    """`buckets`: batch sizes that rows are padded to. `compiled`: forward's own time is compiled code, not Python."""
    every = placed(events, BATCH)
    times = [each.event.end - each.event.start for each in every if each.event.name == BATCH]
    ms, whole, count = recorded.milliseconds[BATCH], sum(times), len(times)
    operators = list(_operators(every, whole, count, ms, compiled=compiled))
    device = sum(each.device for each in every)
    return Figures(
        batch=batch,
        batches=count,
        ms=ms,
        profiled_ms=statistics.median(times) / 1000,
        stages=list(_stages(recorded.milliseconds)),
        operators=operators,
        kinds=_kinds(operators),
        flame=tree(every, BATCH),
        padding=_padding(recorded, buckets),
        transfers=list(_transfers(events, count)),
        unfit=recorded.unfit,
        failed=recorded.failed,
        device_share=device / whole if device else None,
        not_apart=recorded.not_apart,
    )


def _stages(milliseconds: Mapping[str, float]) -> Iterator[Stage]:
    whole = milliseconds[BATCH]
    within = {FORWARD: 1} if "inference" in milliseconds else {}
    found = [name for name in _ORDER if name in milliseconds]
    for name in found:
        yield Stage(name, milliseconds[name], milliseconds[name] / whole, within.get(name, 0))
    rest = max(whole - sum(milliseconds[name] for name in found if name not in within), 0.0)
    yield Stage("the rest", rest, rest / whole)


def _operators(
    every: Iterable[Placed], whole: float, batches: int, ms: float, *, compiled: bool
) -> Iterator[Operator]:
    """By own time, the largest first. Time that is no operator's has a row per stage."""
    rows: dict[tuple[str, str], _Row] = defaultdict(_Row)
    for each in every:
        rows[_row_of(each, compiled=compiled)].add(each)
    for (name, kind), row in sorted(rows.items(), key=lambda item: -item[1].own):
        share = row.own / whole
        calls = row.calls / batches
        yield Operator(name, kind, calls, share, share * ms, row.device / batches / 1000, row.shapes)


class _Row:
    def __init__(self) -> None:
        self.calls = 0
        self.own = self.device = 0.0
        self._shapes: dict[str, float] = defaultdict(float)

    def add(self, each: Placed) -> None:
        self.calls += 1
        self.own += each.own
        self.device += each.device
        self._shapes[each.event.shapes] += each.own + each.device

    @property
    def shapes(self) -> str:
        return max(self._shapes, key=lambda words: self._shapes[words])


def kind_of(operator: str) -> str:
    """By name."""
    if operator in _COPIES:
        return COPYING
    return MATRIX if _MATRIX.search(operator) else OTHER


def _row_of(each: Placed, *, compiled: bool) -> tuple[str, str]:
    name = each.event.name
    if each.event.kind is Kind.OPERATOR:
        return name, kind_of(name)
    around = (*each.path, name)
    stage = next((part for part in reversed(around) if part in (*STAGES, FORWARD, BATCH)), name)
    kind = COMPILED if compiled and stage == FORWARD else PYTHON
    return f"{stage}: {kind}", kind


def _kinds(operators: Iterable[Operator]) -> dict[str, float]:
    shares = dict.fromkeys((MATRIX, COMPILED, OTHER, COPYING, PYTHON), 0.0)
    for each in operators:
        shares[each.kind] += each.share
    return shares


def _padding(recorded: Recorded, buckets: Sequence[int]) -> Padding | None:
    """None where nothing is padded."""
    calls = recorded.calls
    tokens = sum(call.tokens for call in calls)
    of_tokens = sum(call.padded for call in calls) / tokens if tokens else 0.0
    rows = sum(call.rows for call in calls)
    grown = sum(_bucket(call.rows, buckets) for call in calls)
    of_rows = 1 - rows / grown if grown else 0.0
    if not of_tokens and not of_rows:
        return None
    forward = recorded.milliseconds.get(FORWARD, 0.0)
    if recorded.padding is not None and not of_rows:
        part = 1 - recorded.padding.without / recorded.padding.as_it_came
        return Padding(of_tokens, 0.0, max(part, 0.0) * forward, measured=True)
    return Padding(of_tokens, of_rows, (1 - (1 - of_tokens) * (1 - of_rows)) * forward, measured=False)


def _bucket(rows: int, buckets: Sequence[int]) -> int:
    return next((bucket for bucket in sorted(buckets) if bucket >= rows), rows)


def _transfers(events: Iterable[Event], batches: int) -> Iterator[Transfer]:
    directions: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.kind is Kind.COPY:
            found = _DIRECTION.search(event.name)
            directions[found[1] if found else event.name].append(event)
    for direction, copies in directions.items():
        taken = sum(copy.end - copy.start for copy in copies) / 1000
        yield Transfer(direction, len(copies) / batches, sum(copy.size for copy in copies) / batches, taken / batches)
