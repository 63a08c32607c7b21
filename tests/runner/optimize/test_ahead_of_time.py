"""Packages: what cannot become one is compiled in another way, with the reason; real ones fit every batch and length.

Tests that compile for real are slow: a C++ compiler runs.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from runner.optimize import ahead_of_time
from runner.optimize.ahead_of_time import is_made
from runner.optimize.guarded import guard_of
from runner.optimize.pipeline import optimise, standard_steps
from runner.optimize.report import Status
from runner.optimize.tensors import tensors_in
from tests.runner.optimize.models import CPU, PLAIN, Branching, Handler, Scores, compiled, encoder, normed, of, scores

INDUCTOR = compiled("inductor", pt2={"timeout": 300})


def same_tensors(got, wanted):
    for left, right in zip(tensors_in(got), tensors_in(wanted), strict=True):
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-4)


@pytest.fixture
def no_compiler(monkeypatch):
    """Exporting is real; what comes after it does not happen."""

    def compile_nothing(exported, options, folder):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr("runner.optimize.package._compile", compile_nothing)


def why_not(handler, config=INDUCTOR):
    """Why the model does not become a package."""
    config = replace(config, pt2=replace(config.pt2, compile=replace(config.pt2.compile, options={"no_such": 1})))
    row = optimise(handler, config, CPU).step("compile")
    assert row.status is Status.FALLBACK
    return row.reason.partition("; ")[0]


@pytest.mark.usefixtures("no_compiler")
def test_what_the_compiler_says_is_the_reason():
    assert why_not(scores()) == "RuntimeError: no compiler here"


@pytest.mark.usefixtures("no_compiler")
def test_a_model_that_looks_at_its_numbers_is_no_one_graph():
    assert "data-dependent" in why_not(of(Branching))


@pytest.mark.usefixtures("no_compiler")
def test_a_model_that_is_called_twice_per_batch_is_no_package():
    handler = scores(serve=lambda model, inputs: model(inputs) + model(inputs))
    assert why_not(handler) == "the handler does not call the model exactly once per batch"


@pytest.mark.usefixtures("no_compiler")
def test_a_model_whose_answer_has_other_parts_for_other_batches_is_no_package():
    class Counting(Scores):
        def forward(self, x):
            return {"scores": super().forward(x), "count": len(x)}

    assert why_not(of(Counting)) == "what the model takes or returns depends on the batch size"


@pytest.mark.usefixtures("no_compiler")
def test_a_model_for_one_batch_size_alone_is_no_package():
    class Fixed(Scores):
        def forward(self, x):
            return super().forward(x.reshape(4, 6)) if x.shape[0] == 4 else super().forward(x)

    assert why_not(of(Fixed)).startswith(("the model is only for the sample's batch size", "UserError", "Constraint"))


def test_autocast_and_declared_buckets_leave_it_to_torch_compile():
    for config in (
        replace(INDUCTOR, precision=replace(PLAIN.precision, dtype="bf16", mode="autocast")),
        replace(INDUCTOR, pt2=replace(INDUCTOR.pt2, buckets=(1, 4))),
        compiled("inductor", dynamic=False),
        compiled("aot_eager"),
    ):
        (step,) = (step for step in standard_steps() if step.name == "compile")
        wish = step.declared(config, CPU)
        assert "ahead of time" not in [str(plan) for plan in (wish.plan, *wish.others)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("make", [scores, encoder, normed])
def test_one_package_answers_every_batch_as_eager_does_and_is_made_once(make, tmp_path):
    made = optimise(make(), INDUCTOR, CPU, standard_steps(tmp_path)).step("compile")
    assert (made.status, made.applied) == (Status.APPLIED, "inductor, ahead of time, frozen")
    assert is_made(tmp_path)

    handler, plain = make(), make()
    found = optimise(handler, INDUCTOR, CPU, standard_steps(tmp_path)).step("compile")
    assert (made.measured["compiles"], found.measured["compiles"]) == (1, 0)
    for size in range(1, 5):
        same_tensors(handler.answer(size), plain.answer(size))
    guard = guard_of(handler.model)
    assert guard.recompiles == guard.failures == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_sequences_of_any_length_run_compiled_and_larger_batches_eager(tmp_path):
    handler, plain = encoder(), encoder()
    row = optimise(handler, INDUCTOR, CPU, standard_steps(tmp_path)).step("compile")
    assert row.measured["lengths"] == {"half": "runs compiled", "double": "runs compiled"}
    guard = guard_of(handler.model)
    for batch, length, eager in ((1, 2, 0), (3, 40, 0), (4, 13, 0), (5, 7, 1)):
        inputs = {
            "tokens": torch.arange(batch * length).reshape(batch, length) % 50,
            "mask": torch.ones(batch, length, dtype=torch.bool),
        }
        with torch.inference_mode():
            for got, wanted in zip(
                tensors_in(handler.model(**inputs)), tensors_in(plain.model(**inputs)), strict=True
            ):
                torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)
        assert guard.recompiles == eager


def test_a_package_that_cannot_be_opened_is_compiled_in_another_way(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "model.so").write_bytes(b"not a library")
    row = optimise(scores(), compiled("inductor", options={"no_such": 1}), CPU, standard_steps(tmp_path)).step(
        "compile"
    )
    assert "signature cannot be read" in row.reason


def test_a_handler_without_tensors_has_nothing_to_package(monkeypatch):
    monkeypatch.setattr(ahead_of_time, "build", lambda *_: pytest.fail("nothing to build"))

    class Constant(nn.Module):
        def forward(self, n):
            return torch.ones(n, 2)

    handler = Handler(Constant().eval(), lambda n: n)
    assert "depends on the batch size" in why_not(handler)
