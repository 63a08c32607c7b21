"""torch.compile and its surroundings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from archiver.config.findings import Severity
from archiver.config.forms import FLAT
from archiver.config.rules.rule import Problem, Subject, rule
from archiver.config.wording import nearest, typed

#: Backends of torch 2.10 to 2.15 and of packages that register one. The serving machine has the last word.
BACKENDS = (
    "inductor", "cudagraphs", "eager", "eager_noexcept", "eager_debug", "aot_eager", "aot_eager_decomp_partition",
    "aot_ts", "ts", "openvino", "openxla", "openxla_eval", "tvm", "tensorrt", "torch_tensorrt", "onnxrt", "ipex",
    "hpu_backend", "neuron",
)  # fmt: skip
_GRAPH_MODES = ("reduce-overhead",)


def _written(subject: Subject) -> Any:
    """pt2 as the file spells it."""
    override = (subject.source.values.get("devices") or {}) if subject.override else {}
    own = override.get(subject.override) if isinstance(override, dict) else None
    if isinstance(own, dict) and "pt2" in own:
        return own["pt2"]
    return subject.source.values.get("pt2")


@rule("pt2/string-form", Severity.NOTE)
def string_form(subject: Subject) -> Iterator[Problem]:
    """`pt2: backend`: TorchServe's oldest form, deprecated there."""
    written = _written(subject)
    if isinstance(written, str) and subject.has("pt2"):
        hint = f"write `pt2: {{compile: {{enable: true, backend: {typed(written)}}}}}`"
        yield Problem(("pt2",), "this form of pt2 is deprecated; it still means: compile with this backend", hint)


@rule("pt2/flat-form", Severity.NOTE)
def flat_form(subject: Subject) -> Iterator[Problem]:
    """Arguments of torch.compile directly under pt2: deprecated by TorchServe, move them under compile."""
    written = _written(subject)
    if not isinstance(written, dict) or "compile" in written:
        return
    flat = {key: written[key] for key in FLAT if key in written}
    if flat:
        hint = f"write `compile: {typed({'enable': True, **flat})}`"
        yield Problem(("pt2",), "arguments of torch.compile directly under pt2 are deprecated", hint, key=True)


@rule("pt2/flat-and-compile", Severity.ERROR)
def flat_and_compile(subject: Subject) -> Iterator[Problem]:
    """An argument of torch.compile stands both under pt2 and beside a compile block, which wins."""
    written = _written(subject)
    if isinstance(written, dict) and "compile" in written:
        for key in (key for key in FLAT if key in written):
            message = f"pt2.{key} is not read, because pt2.compile is there"
            yield Problem(("pt2", key), message, f"move `{key}` under `compile:`", key=True)


@rule("pt2/enable-missing", Severity.WARNING)
def enable_missing(subject: Subject) -> Iterator[Problem]:
    """compile without enable: true here; TorchServe's base handler stops with a KeyError."""
    if subject.has("pt2", "compile") and not subject.has("pt2", "compile", "enable"):
        message = "pt2.compile.enable is missing: it means true here, but TorchServe stops with a KeyError"
        yield Problem(("pt2", "compile"), message, "add `enable: true`", key=True)


@rule("pt2/unknown-backend", Severity.WARNING)
def unknown_backend(subject: Subject) -> Iterator[Problem]:
    """A torch.compile backend that is not known here; it is checked again on the serving machine."""
    backend = subject.get("pt2", "compile", "backend")
    if backend is not None and backend not in BACKENDS:
        near = nearest(backend, BACKENDS)
        message = (
            f'the torch.compile backend "{backend}" is not known here; it is checked again on the serving machine'
        )
        hint = f"did you mean `backend: {near}`?" if near else None
        yield Problem(("pt2", "compile", "backend"), message, hint)


@rule("pt2/mode-without-gpu", Severity.WARNING)
def mode_without_gpu(subject: Subject) -> Iterator[Problem]:
    """A mode that records CUDA graphs, on a CPU, where it silently does nothing."""
    mode = subject.get("pt2", "compile", "mode")
    inherited = subject.override is not None and subject.spot(("pt2", "compile", "mode"))[0] != "devices"
    if subject.compiles and mode in _GRAPH_MODES and subject.device == "cpu" and not inherited:
        message = f"mode {mode} records CUDA graphs and does nothing on a CPU"
        yield Problem(("pt2", "compile", "mode"), message, "remove the mode")


@rule("pt2/compile-and-aot", Severity.ERROR)
def compile_and_aot(subject: Subject) -> Iterator[Problem]:
    """A program that is compiled ahead of time cannot be compiled again."""
    if subject.compiles and subject.get("pt2", "export", "aot_compile"):
        message = "a model is compiled either ahead of time or when it loads, not both"
        hint = "remove `aot_compile`, or write `enable: false` under `compile:`"
        yield Problem(("pt2", "export", "aot_compile"), message, hint)


@rule("pt2/buckets-over-batch", Severity.ERROR)
def buckets_over_batch(subject: Subject) -> Iterator[Problem]:
    """A bucket is greater than batchSize: no batch will ever have that size."""
    batch = subject.get("batchSize")
    for index, bucket in enumerate(subject.get("pt2", "buckets") or ()):
        if bucket > batch:
            message = f"bucket {bucket} is greater than batchSize {batch}: no batch ever has that size"
            yield Problem(("pt2", "buckets", index), message, f"remove {bucket}, or write `batchSize: {bucket}`")


@rule("pt2/buckets-below-batch", Severity.WARNING)
def buckets_below_batch(subject: Subject) -> Iterator[Problem]:
    """The greatest bucket is smaller than batchSize: full batches are not captured."""
    buckets, batch = subject.get("pt2", "buckets"), subject.get("batchSize")
    if buckets and max(buckets) < batch:
        message = f"the greatest bucket is {max(buckets)}, so batches up to batchSize {batch} fit none"
        yield Problem(("pt2", "buckets"), message, f"write `buckets: {typed(sorted({*buckets, batch}))}`")


@rule("pt2/buckets-order", Severity.ERROR)
def buckets_order(subject: Subject) -> Iterator[Problem]:
    """Buckets are not in rising order, or one is written twice."""
    buckets = subject.get("pt2", "buckets") or []
    rising = sorted(set(buckets))
    if list(buckets) != rising:
        message = "buckets must be in rising order, each once"
        yield Problem(("pt2", "buckets"), message, f"write `buckets: {typed(rising)}`")


@rule("pt2/buckets-without-compile", Severity.WARNING)
def buckets_without_compile(subject: Subject) -> Iterator[Problem]:
    """Buckets without compile: there is nothing to capture, padding would only cost."""
    ahead = subject.get("pt2", "export", "aot_compile")
    if subject.has("pt2", "buckets") and not subject.compiles and not ahead:
        message = "buckets have no effect while pt2.compile is off"
        yield Problem(("pt2", "buckets"), message, "add `compile: {enable: true}` under `pt2:`", key=True)
