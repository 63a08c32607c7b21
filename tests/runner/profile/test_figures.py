"""Events and what the passes told → figures."""

from __future__ import annotations

import pytest

from runner.profile.figures import COMPILED, COPYING, MATRIX, OTHER, PYTHON, kind_of
from tests.runner.profile.made import COPY, KERNEL, entry, made, padded


def test_stages_are_times_without_the_profiler_with_forward_inside_inference():
    rows = [(stage.name, stage.ms, stage.depth) for stage in made().stages]
    assert rows[:3] == [("preprocess", 0.2, 0), ("inference", 1.7, 0), ("forward", 1.6, 1)]
    assert rows[3] == ("the rest", pytest.approx(0.1), 0)


def test_a_handler_without_stages_has_forward_and_the_rest():
    stages = made(milliseconds={"batch": 2.0, "forward": 1.5}).stages
    assert [(stage.name, stage.ms, stage.depth) for stage in stages] == [("forward", 1.5, 0), ("the rest", 0.5, 0)]


def test_operators_are_by_own_time_in_milliseconds_of_a_batch_without_the_profiler():
    first = made().operators[0]
    assert (first.name, first.kind, first.calls, first.share, first.ms) == ("aten::addmm", MATRIX, 1, 0.5, 1.0)
    assert first.shapes == "4, 8×4, 4×4"


def test_shares_by_kind_add_up_to_the_batch():
    kinds = made().kinds
    assert kinds == pytest.approx({MATRIX: 0.6, COPYING: 0.1, OTHER: 0.1, PYTHON: 0.2, COMPILED: 0.0})


def test_what_no_operator_took_inside_forward_is_compiled_code_where_it_is_compiled():
    assert "forward: Python" not in {each.name for each in made(compiled=True).operators}
    assert "preprocess: Python" in {each.name for each in made(compiled=True).operators}


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        *((name, MATRIX) for name in ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::_int_mm")),
        *((name, MATRIX) for name in ("aten::mkldnn_convolution", "mkldnn::_linear_pointwise", "aten::lstm")),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", MATRIX),
        *((name, OTHER) for name in ("aten::gelu", "aten::comm", "aten::add", "aten::softmax", "aten::summon")),
        *((name, COPYING) for name in ("aten::copy_", "aten::_to_copy", "aten::contiguous")),
    ],
)
def test_an_operators_kind_is_told_by_its_name(operator, kind):
    assert kind_of(operator) == kind


def test_no_padding_is_none():
    assert made().padding is None


def test_padding_costs_what_batches_of_equally_long_rows_save():
    padding = made(**padded(100, 75, came=4.0, without=1.0)).padding
    assert padding.tokens == 0.75 and padding.measured
    assert padding.lost_ms == pytest.approx(1.6 * 0.75)


def test_padding_never_costs_less_than_nothing():
    assert made(**padded(100, 1, came=1.0, without=1.1)).padding.lost_ms == 0


def test_rows_padded_to_a_bucket_cost_the_same_part_of_forward_and_it_says_estimated():
    padding = made(buckets=(4, 16)).padding
    assert padding.rows == 0.5 and not padding.measured and padding.lost_ms == pytest.approx(0.8)


def test_a_batch_beyond_every_bucket_is_not_padded():
    assert made(buckets=(1, 4)).padding is None


def test_copies_are_counted_by_direction_and_batch():
    copies = [
        entry("Memcpy HtoD (Pinned -> Device)", 10, 50, COPY, 7, bytes=1000),
        entry("Memcpy HtoD (Pinned -> Device)", 5010, 50, COPY, 7, bytes=3000),
        entry("Memcpy DtoH (Device -> Pageable)", 900, 20, COPY, 7, bytes=10),
    ]
    first, second = made(*copies).transfers
    assert (first.direction, first.count, first.bytes, first.ms) == ("HtoD", 1, 2000, 0.05)
    assert (second.direction, second.count) == ("DtoH", 0.5)


def test_the_gpus_part_of_a_batch_is_known_where_there_is_one():
    assert made().device_share is None
    kernels = [
        entry("gemm", 200, 250, KERNEL, 7, **{"External id": 0}),
        entry("gemm", 5200, 250, KERNEL, 7, **{"External id": 5000}),
    ]
    found = made(*kernels)
    assert found.device_share == 0.25 and found.operators[0].device_ms == 0.25


def test_the_flame_lays_batches_over_each_other():
    rows = [(depth, each.name, each.calls, round(each.share, 2)) for depth, each in made().flame.walk(0.5)]
    assert rows == [
        (0, "batch", 2, 1.0),
        (1, "inference", 2, 0.85),
        (2, "forward", 2, 0.8),
        (3, "layer.0 Linear", 2, 0.7),
        (4, "aten::linear", 2, 0.6),
        (5, "aten::addmm", 2, 0.5),
    ]
