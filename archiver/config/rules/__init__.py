"""What a schema cannot say: one file per subject, one function per rule, one code per rule. This is the list."""

from __future__ import annotations

from archiver.config.rules import batching, devices, precision, pt2, sequences, timeouts, warmup, workers
from archiver.config.rules.rule import Rule

RULES: tuple[Rule, ...] = (
    workers.min_over_max,
    workers.min_without_max,
    workers.max_without_min,
    workers.ids_on_cpu,
    workers.level_missing,
    workers.level_overwritten,
    batching.zero_delay,
    batching.delay_unused,
    batching.nothing_to_collect,
    batching.queue_below_batch,
    batching.micro_over_batch,
    timeouts.client_below_delay,
    timeouts.compile_over_startup,
    sequences.idle_missing,
    sequences.not_enabled,
    sequences.limit_raised,
    sequences.continuous_with_delay,
    pt2.string_form,
    pt2.flat_form,
    pt2.flat_and_compile,
    pt2.enable_missing,
    pt2.unknown_backend,
    pt2.mode_without_gpu,
    pt2.compile_and_aot,
    pt2.buckets_over_batch,
    pt2.buckets_below_batch,
    pt2.buckets_order,
    pt2.buckets_without_compile,
    precision.tf32_on_cpu,
    precision.fp16_on_cpu,
    precision.autocast_nothing,
    precision.keep_nothing,
    precision.fp8_on_cpu,
    precision.attention_on_cpu,
    warmup.input_missing,
    warmup.no_such_member,
    devices.not_overridable,
    devices.never_used,
)
