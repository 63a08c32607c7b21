from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from runner.optimize.attention import available
from runner.optimize.pipeline import optimise
from runner.optimize.report import Status
from tests.runner.optimize.models import CPU, PLAIN, encoder, scores


@pytest.mark.parametrize(
    ("declared", "device", "names", "notes"),
    [
        (("flash", "math"), "cuda", ("flash", "math"), ()),
        (("flash",), "cuda", ("flash", "math"), ("math added as the last resort",)),
        (("efficient", "math"), "cpu", ("math",), ("efficient: no such kernel on cpu",)),
        (("math", "flash"), "cpu", ("math", "flash"), ()),
    ],
)
def test_kernels_that_do_not_exist_are_named_and_math_is_always_there(declared, device, names, notes):
    assert available(declared, device) == (names, notes)


def test_attention_is_applied_where_the_model_calls_it():
    row = optimise(encoder(), replace(PLAIN, attention=("math",)), CPU).step("attention")
    assert (row.status, row.applied) == (Status.APPLIED, "math")
    assert row.measured["attentionCalls"] == 2


def test_the_declared_kernel_is_the_one_that_runs():
    handler = encoder()
    optimise(handler, replace(PLAIN, attention=("math",)), CPU)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        handler.answer(2)
    names = {event.key for event in profile.key_averages()}
    assert "aten::_scaled_dot_product_attention_math" in names
    assert "aten::_scaled_dot_product_flash_attention_for_cpu" not in names


def test_a_model_without_attention_is_not_said_to_have_it_chosen():
    handler = scores()
    row = optimise(handler, replace(PLAIN, attention=("math",)), CPU).step("attention")
    assert (row.status, row.applied) == (Status.NOT_APPLICABLE, None)
    assert row.reason == "the model does not call scaled_dot_product_attention"
    assert "forward" not in handler.model.__dict__
