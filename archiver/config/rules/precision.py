"""Number formats, attention backends and what a device makes of them."""

from __future__ import annotations

from collections.abc import Iterator

from archiver.config.findings import Severity
from archiver.config.rules.rule import Problem, Subject, rule
from archiver.config.wording import typed

_CPU_ATTENTION = ("flash", "math")


@rule("precision/tf32-on-cpu", Severity.WARNING)
def tf32_on_cpu(subject: Subject) -> Iterator[Problem]:
    """tf32 is a number format of NVIDIA GPUs; a CPU has none of it."""
    if subject.get("precision", "dtype") == "tf32" and subject.device == "cpu":
        message = "tf32 is a number format of NVIDIA GPUs; a CPU computes in fp32"
        yield Problem(("precision", "dtype"), message, "write `bf16`, or `fp32`")


@rule("precision/fp16-on-cpu", Severity.WARNING)
def fp16_on_cpu(subject: Subject) -> Iterator[Problem]:
    """fp16 on a CPU: most have no arithmetic for it, and it is slower than fp32. bf16 is the lever there."""
    if subject.get("precision", "dtype") == "fp16" and subject.device == "cpu":
        message = "most CPUs have no fp16 arithmetic, so fp16 is slower than fp32 there"
        yield Problem(("precision", "dtype"), message, "write `bf16`")


@rule("precision/autocast-nothing", Severity.WARNING)
def autocast_nothing(subject: Subject) -> Iterator[Problem]:
    """mode autocast with a 32-bit dtype: autocast casts to fp16 or bf16 only."""
    precision = subject.get("precision") or {}
    if precision.get("mode") == "autocast" and precision.get("dtype") in ("fp32", "tf32"):
        message = f"autocast has nothing to cast while dtype is {precision['dtype']}"
        yield Problem(("precision", "mode"), message, "add `dtype: bf16`")


@rule("precision/keep-nothing", Severity.WARNING)
def keep_nothing(subject: Subject) -> Iterator[Problem]:
    """keep has patterns while the whole model stays fp32."""
    precision = subject.get("precision") or {}
    if precision.get("keep") and precision.get("dtype") == "fp32":
        message = "keep has no effect while the whole model stays fp32"
        yield Problem(("precision", "keep"), message, "add `dtype: bf16`", key=True)


@rule("precision/fp8-on-cpu", Severity.WARNING)
def fp8_on_cpu(subject: Subject) -> Iterator[Problem]:
    """An fp8 scheme on a CPU: it has no arithmetic for fp8."""
    scheme = subject.get("quantization", "scheme") or ""
    if scheme.startswith("fp8") and subject.device == "cpu":
        yield Problem(("quantization", "scheme"), "a CPU has no fp8 arithmetic", "write `int8-dynamic`")


@rule("precision/attention-on-cpu", Severity.WARNING)
def attention_on_cpu(subject: Subject) -> Iterator[Problem]:
    """None of the attention backends exists on a CPU, which has flash and math only."""
    wanted = subject.get("attention") or []
    if wanted and subject.device == "cpu" and not set(wanted) & set(_CPU_ATTENTION):
        message = "a CPU has the attention backends flash and math only"
        yield Problem(("attention",), message, f"write `attention: {typed([*wanted, 'math'])}`")
