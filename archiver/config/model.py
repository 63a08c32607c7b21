"""ModelConfig: a model's settings, frozen and typed. The only form that the inside of archiver and runner sees.

No default is spelled here: `schemas/model-config.schema.json` has them all, and `ModelConfig.from_values` takes
a mapping that is already complete (`origins.effective`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Precision:
    """`dtype`: fp32, tf32, fp16, bf16, auto; None: as saved. `mode`: cast, autocast. `keep`: module globs → dtype."""

    dtype: str | None
    mode: str
    keep: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Quantization:
    """`scheme`: what is quantised and when. `include`, `exclude`: module globs. `fallback`: unquantised or fail."""

    scheme: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    fallback: str


@dataclass(frozen=True, slots=True)
class Threads:
    """`intra_op`: threads of one worker's operators, None = cores // workers. `pin`: disjoint cores per worker."""

    intra_op: int | None
    pin: bool


@dataclass(frozen=True, slots=True)
class Compile:
    """torch.compile as declared. `dynamic`, `fullgraph` and `freezing` are "auto", True or False."""

    enable: bool
    backend: str
    mode: str | None
    dynamic: bool | str
    fullgraph: bool | str
    freezing: bool | str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Pt2:
    """What happens to the module beyond eager. `buckets`: batch sizes to pad to; `timeout` in seconds."""

    compile: Compile | None
    aot_compile: bool
    buckets: tuple[int, ...] | None
    min_speedup: float
    fallback: str
    timeout: float
    background: bool


@dataclass(frozen=True, slots=True)
class Verify:
    """Limits for the optimised model against fp32 eager, and what to do beyond them: fallback, fail or warn."""

    min_cosine: float
    max_abs_error: float | None
    action: str


@dataclass(frozen=True, slots=True)
class Warmup:
    """`input`: an archive member to send through the handler before READY. `iterations` per batch size."""

    input: str | None
    iterations: int


@dataclass(frozen=True, slots=True)
class Sequences:
    """sequenceBatching. `idle` and `timeout` in milliseconds, 0 for no limit; `waiting`: requests of one sequence;
    `most`: sequences at the same time, never fewer than places in the workers' batches."""

    idle: int
    timeout: int
    waiting: int
    most: int

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Sequences:
        return cls(
            values["sequenceMaxIdleMSec"],
            values["sequenceTimeoutMSec"],
            values["maxSequenceJobQueueSize"],
            values["maxNumSequence"],
        )


@dataclass(frozen=True, slots=True)
class Parallel:
    """How one worker spans processes and accelerators. `torchrun`: its processes are told of each other;
    `accelerators`: of each worker, where there are any; `threads`: of each process, None for a share of the cores."""

    type: str | None
    torchrun: bool
    processes: int
    accelerators: int
    threads: int | None
    nodes: int

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Parallel:
        """TorchServe's rule: torchrun starts the processes, but for parallelType custom, where one has them all."""
        kind, torchrun = values.get("parallelType"), values.get("torchrun") or {}
        processes = torchrun.get("nproc-per-node", 1)
        if kind == "custom":
            wanted = processes if torchrun else values["parallelLevel"]
            return cls(kind, False, 1, max(1, wanted), None, 1)
        threads = torchrun.get("OMP_NUMBER_THREADS", 1)
        threads = threads if threads > 1 else None
        return cls(kind, bool(torchrun), processes, processes, threads, torchrun.get("nnodes", 1))


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Effective settings of one model version on one device. Times: `max_batch_delay` and `client_timeout` in
    milliseconds (TorchServe's units), the other timeouts in seconds; None means not set.
    `raw` is the YAML as the user wrote it: what a handler sees as `context.model_yaml_config`.
    """

    min_workers: int | None
    max_workers: int | None
    batch_size: int
    max_batch_delay: int
    batch_policy: str
    response_timeout: int
    startup_timeout: int
    max_retry_timeout: int
    client_timeout: int | None
    job_queue_size: int
    row_retry: bool
    use_job_ticket: bool
    async_communication: bool
    continuous_batching: bool
    sequences: Sequences | None
    parallel: Parallel
    device_type: str
    device_ids: tuple[int, ...] | None
    precision: Precision
    quantization: Quantization | None
    memory_format: str | None
    attention: tuple[str, ...] | None
    threads: Threads
    pt2: Pt2
    verify: Verify
    warmup: Warmup
    preload: tuple[str, ...]
    raw: Mapping[str, Any]

    @classmethod
    def from_values(cls, values: Mapping[str, Any], raw: Mapping[str, Any]) -> ModelConfig:
        """From complete and checked values (`Effective.values`). `raw`: the YAML as the user wrote it.

        A KeyError here means that `values` is not complete, which is a bug of the caller.
        """
        attention, ids = values.get("attention"), values.get("deviceIds")
        return cls(
            min_workers=values.get("minWorkers"),
            max_workers=values.get("maxWorkers"),
            batch_size=values["batchSize"],
            max_batch_delay=values["maxBatchDelay"],
            batch_policy=values["batchPolicy"],
            response_timeout=values["responseTimeout"],
            startup_timeout=values["startupTimeout"],
            max_retry_timeout=values["maxRetryTimeoutInSec"],
            client_timeout=values["clientTimeoutInMills"] or None,
            job_queue_size=values["jobQueueSize"],
            row_retry=values["rowRetry"],
            use_job_ticket=values["useJobTicket"],
            async_communication=values["asyncCommunication"],
            continuous_batching=values["continuousBatching"],
            sequences=Sequences.from_values(values) if values["sequenceBatching"] else None,
            parallel=Parallel.from_values(values),
            device_type=values["deviceType"],
            device_ids=None if ids is None else tuple(ids),
            precision=Precision(**values["precision"]),
            quantization=_quantization(values["quantization"]),
            memory_format=values.get("memoryFormat"),
            attention=None if attention is None else tuple(attention),
            threads=_threads(values["threads"]),
            pt2=_pt2(values["pt2"]),
            verify=_verify(values["verify"]),
            warmup=Warmup(values["warmup"].get("input"), values["warmup"]["iterations"]),
            preload=tuple(values["preload"]),
            raw=raw,
        )


def _threads(values: Mapping[str, Any]) -> Threads:
    intra_op = values["intraOp"]
    return Threads(None if intra_op == "auto" else intra_op, values["pin"])


def _quantization(values: Mapping[str, Any] | None) -> Quantization | None:
    if values is None:
        return None
    return Quantization(values["scheme"], tuple(values["include"]), tuple(values["exclude"]), values["fallback"])


def _verify(values: Mapping[str, Any]) -> Verify:
    return Verify(values["minCosine"], values["maxAbsError"], values["action"])


def _pt2(values: Mapping[str, Any]) -> Pt2:
    compile_, buckets = values["compile"], values.get("buckets")
    return Pt2(
        compile=None if compile_ is None else Compile(**compile_),
        aot_compile=values["export"]["aot_compile"],
        buckets=None if buckets is None else tuple(buckets),
        min_speedup=values["minSpeedup"],
        fallback=values["fallback"],
        timeout=values["timeout"],
        background=values["background"],
    )


def to_plain(config: ModelConfig) -> dict[str, Any]:
    """Dicts, lists, texts and numbers only, for the wire and for JSON; `from_plain` is the way back."""
    plain: dict[str, Any] = _plain(asdict(config))
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def from_plain(plain: Mapping[str, Any]) -> ModelConfig:
    """The config that `to_plain` was given."""
    parts = {"precision": Precision, "threads": Threads, "verify": Verify, "warmup": Warmup, "parallel": Parallel}
    values = {key: parts[key](**value) if key in parts else value for key, value in plain.items()}
    pt2 = dict(plain["pt2"])
    compile_ = pt2.pop("compile")
    values["quantization"] = _quantization(plain["quantization"])
    values["pt2"] = Pt2(
        compile=None if compile_ is None else Compile(**compile_),
        **{**pt2, "buckets": _tuple(pt2["buckets"])},
    )
    for key in ("device_ids", "attention", "preload"):
        values[key] = _tuple(plain[key])
    return ModelConfig(**values)


def _tuple(value: Any) -> tuple[Any, ...] | None:
    return None if value is None else tuple(value)
