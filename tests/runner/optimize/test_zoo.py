"""Kinds of models that people serve, each through the whole pipeline: what is declared, and what is said of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
import torch._dynamo

from runner.optimize.pipeline import optimise
from runner.optimize.report import Status
from runner.optimize.tensors import tensors_in
from tests.runner.optimize.models import (
    CPU,
    PLAIN,
    Branching,
    Cancelling,
    Handler,
    Own,
    compiled,
    encoder,
    normed,
    of,
    precision,
    scores,
)


def branching():
    return of(Branching)


def own():
    return of(Own)


@pytest.mark.filterwarnings("ignore:.*autograd function:DeprecationWarning")  # torch's own, while it traces one
@pytest.mark.parametrize("make", [scores, normed, encoder, branching, own])
def test_compiled_models_answer_as_eager_does_at_every_size(make):
    handler, plain = make(), make()
    report = optimise(handler, compiled("aot_eager"), CPU)
    assert report.step("compile").status is Status.APPLIED
    for size in range(1, 5):
        for got, wanted in zip(tensors_in(handler.answer(size)), tensors_in(plain.answer(size)), strict=True):
            torch.testing.assert_close(got, wanted)


def test_control_flow_on_data_is_a_graph_break_that_is_counted():
    assert optimise(branching(), compiled(), CPU).step("compile").measured["graphBreaks"] > 0


def test_fullgraph_on_such_a_model_names_the_line_that_breaks_it():
    row = optimise(branching(), compiled(fullgraph=True), CPU).step("compile")
    assert (row.status, row.applied) == (Status.FALLBACK, "eager")
    assert "models.py:" in row.reason


def test_an_operator_without_a_kernel_for_the_compiler_means_eager_with_its_name():
    with torch.library._scoped_library("zoo", "DEF") as library:
        library.define("odd(Tensor x) -> Tensor")
        library.impl("odd", lambda x: x + x.sum(), "CPU")  # no fake kernel: tracing cannot know its output

        class Odd(torch.nn.Linear):
            def forward(self, x):
                return torch.ops.zoo.odd(super().forward(x))

        handler = of(lambda: Odd(6, 4))
        row = optimise(handler, compiled("aot_eager", fullgraph=True), CPU).step("compile")
        assert (row.status, row.applied) == (Status.FALLBACK, "eager")
        assert "zoo.odd" in row.reason
        assert handler.answer(2).shape == (2, 4)


def test_bf16_that_drifts_beyond_the_limit_is_given_back():
    handler = of(Cancelling)
    row = optimise(handler, precision("bf16"), CPU).step("precision")
    assert (row.status, row.applied) == (Status.FALLBACK, "as loaded")
    assert "verify.minCosine" in row.reason
    assert handler.model.shift.dtype is torch.float32


def test_a_handler_without_a_module_is_left_alone_and_said_so():
    report = optimise(Handler(None, lambda n: None), replace(compiled(), attention=("math",)), CPU)
    for name in ("attention", "compile"):
        assert report.step(name).status is Status.NOT_APPLICABLE
        assert report.step(name).reason == "the handler exposes no torch module"


@pytest.mark.parametrize("make", [scores, normed, encoder])
def test_everything_at_once_is_reported_in_plain_values(make):
    config = replace(
        compiled("aot_eager", config=precision("bf16")), memory_format="channels_last", attention=("math",)
    )
    config = replace(config, verify=replace(PLAIN.verify, min_cosine=0.9))
    report = optimise(make(), config, CPU)
    assert json.loads(json.dumps(report.to_dict()))["verify"]["passed"] is True
