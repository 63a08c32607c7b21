"""quantization: the declared layers and no others, verified against the model as loaded, every refusal said."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace

import pytest
import torch

from archiver.config.model import Quantization
from runner.optimize.pipeline import optimise
from runner.optimize.quantize import chosen, impossible
from runner.optimize.report import Status
from runner.optimize.step import NotApplicable, OptimiseRefused, StepFailed
from tests.runner.optimize.models import CPU, PLAIN, Conv, Scores, compiled, encoder, precision, scores

torchao = pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="needs torch-archive[quantize]")


def quantized(scheme="int8-weight-only", include=(), exclude=(), fallback="unquantised", config=PLAIN):
    return replace(config, quantization=Quantization(scheme, include, exclude, fallback))


def kinds(model):
    return {name: type(layer.weight).__name__ for name, layer in chosen(model, (), ()).items()}


@torchao
@pytest.mark.parametrize("scheme", ["int8-weight-only", "int8-dynamic"])
def test_every_linear_layer_is_quantised_and_the_answers_are_close(scheme):
    handler, plain = scores(), scores()
    row = optimise(handler, quantized(scheme), CPU).step("quantization")
    assert (row.status, row.applied) == (Status.APPLIED, f"{scheme} (2 linear layers)")
    assert kinds(handler.model) == {"body": "Int8Tensor", "head": "Int8Tensor"}
    assert row.measured["cosine"] > 0.99
    bytes_ = row.measured["linearWeightBytes"]
    assert bytes_["after"] < bytes_["before"]
    torch.testing.assert_close(handler.answer(4), plain.answer(4), atol=0.05, rtol=0.05)


@torchao
def test_without_compilation_the_report_says_that_it_is_slow():
    assert "quantised layers are fast only under pt2.compile" in (
        optimise(scores(), quantized(), CPU).step("quantization").reason
    )


@torchao
def test_excluded_layers_stay_as_they_are():
    handler = scores()
    optimise(handler, quantized(exclude=("head",)), CPU)
    assert kinds(handler.model) == {"body": "Int8Tensor", "head": "Parameter"}


@torchao
def test_a_model_that_drifts_too_far_gets_the_very_weights_back_that_were_loaded():
    handler, plain = scores(), scores()
    before = handler.model.body.weight
    strict = replace(PLAIN, verify=replace(PLAIN.verify, max_abs_error=1e-9))
    row = optimise(handler, quantized(config=strict), CPU).step("quantization")
    assert (row.status, row.applied) == (Status.FALLBACK, "unquantised")
    assert "verify.maxAbsError" in row.reason
    assert handler.model.body.weight is before
    assert torch.equal(handler.answer(3), plain.answer(3))


@torchao
def test_bf16_quantised_and_compiled_work_together():
    handler = encoder()
    config = quantized(config=compiled("aot_eager", config=precision("bf16")))
    report = optimise(handler, config, CPU)
    assert report.step("quantization").status is report.step("compile").status is Status.APPLIED
    assert handler.answer(3).states.dtype is torch.float32


def test_a_scheme_that_the_device_cannot_do_leaves_the_model_as_loaded():
    handler = scores()
    row = optimise(handler, quantized("fp8-dynamic"), CPU).step("quantization")
    assert (row.status, row.applied) == (Status.FALLBACK, "unquantised")
    assert row.reason.endswith("a cpu has no fp8 arithmetic")
    assert kinds(handler.model) == {"body": "Parameter", "head": "Parameter"}


def test_fallback_fail_refuses_to_load():
    with pytest.raises(OptimiseRefused, match=r"quantization: a cpu has no int4 arithmetic \(quantization.fallback"):
        optimise(scores(), quantized("int4-weight-only", fallback="fail"), CPU)


def test_a_missing_torchao_is_said_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    row = optimise(scores(), quantized(), CPU).step("quantization")
    assert row.status is Status.FALLBACK
    assert row.reason.endswith("torchao is not installed: pip install 'torch-archive[quantize]'")


@pytest.mark.parametrize(
    ("scheme", "device", "capability", "reason"),
    [
        ("int8-dynamic", "cpu", None, None),
        ("int8-dynamic", "cuda", (8, 0), None),
        ("int4-weight-only", "cuda", (7, 5), "int4-weight-only needs compute capability 8.0, this GPU has 7.5"),
        ("fp8-dynamic", "cuda", (8, 0), "fp8-dynamic needs compute capability 8.9, this GPU has 8.0"),
        ("fp8-weight-only", "cuda", (9, 0), None),
        ("int8-weight-only", "mps", None, "no int8 arithmetic on mps"),
    ],
)
def test_a_scheme_counts_only_where_the_device_computes_it(scheme, device, capability, reason):
    assert impossible(scheme, device, capability) == reason


def test_a_glob_names_layers_or_everything_in_a_module():
    model = torch.nn.ModuleDict({"encoder": torch.nn.Sequential(Scores(), Scores()), "head": torch.nn.Linear(2, 2)})
    assert list(chosen(model, ("encoder",), ("encoder.1", "*.head"))) == ["encoder.0.body"]


def test_a_glob_that_matches_nothing_is_no_success():
    with pytest.raises(StepFailed, match="no module is called `haed`, did you mean `head`?"):
        chosen(Scores(), (), ("haed",))


def test_a_model_without_linear_layers_is_left_alone():
    with pytest.raises(NotApplicable, match="no linear layers"):
        chosen(Conv(), (), ())
