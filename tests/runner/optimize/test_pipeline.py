"""What is declared is what runs, or the report says what runs instead and why."""

from __future__ import annotations

import json
from dataclasses import replace
from types import MappingProxyType

import pytest
import torch

from archiver.config.model import Threads, Verify
from runner.optimize import precision as precision_module
from runner.optimize.pipeline import STEPS, optimise
from runner.optimize.precision import PrecisionPlan, PrecisionStep
from runner.optimize.report import Status
from runner.optimize.step import Change, OptimiseRefused, StepFailed, Wish
from tests.runner.optimize.models import CPU, PLAIN, Handler, compiled, encoder, precision, rows, scores

BF16 = precision("bf16")


class Bf16(PrecisionStep):
    """precision on a device that computes bf16, whatever this machine can."""

    def declared(self, config, device):
        return Wish("bf16", PrecisionPlan("bf16", "cast", MappingProxyType({}), device), instead="as loaded")


class Chosen:
    """A step that does what the test says."""

    name = "chosen"
    needs_sample = False

    def __init__(self, change, *, required=False):
        self._change = change
        self._required = required

    def declared(self, config, device):
        return Wish("something", None, instead="as loaded", required=self._required)

    def change(self, edge, plan):
        self._change.edge = edge
        return self._change


class Wrong(Change):
    """Answers upside down."""

    text = "upside down"
    dropped = False

    def on(self):
        self.edge.inner = lambda *args: -self.edge.own(*args)

    def off(self):
        self.edge.inner = self.edge.own

    def drop(self):
        self.dropped = True


class Raising(Wrong):
    def on(self):
        super().on()
        raise ValueError("half-way")


def verifying(action):
    return replace(PLAIN, verify=Verify(min_cosine=0.99, max_abs_error=None, action=action))


def test_what_is_applied_was_run_verified_and_measured():
    handler = scores()
    report = optimise(handler, BF16, CPU, [Bf16()])
    row = report.step("precision")
    assert (row.status, row.declared, row.applied, row.reason) == (Status.APPLIED, "bf16", "bf16 (cast)", None)
    assert 0.99 < row.measured["cosine"] < 1.0
    assert row.measured["maxAbsError"] > 0
    assert "top1" in row.measured
    assert set(row.measured["speedup"]) == {"1", "4"}
    assert set(handler.sizes) == {1, 4}
    assert report.verify["passed"] is True


def test_a_model_with_dicts_stays_usable_as_it_is():
    handler = encoder()
    model = handler.model
    optimise(handler, BF16, CPU, [Bf16()])
    assert handler.model is model
    assert handler.answer(2).states.dtype is torch.float32


def test_the_report_is_json_and_has_one_line_per_declared_step():
    report = optimise(scores(), precision("tf32"), CPU)
    plain = json.loads(json.dumps(report.to_dict()))
    assert [row["name"] for row in plain["steps"]] == [*(step.name for step in STEPS), "threads"]
    assert plain["steps"][0]["status"] == "fallback"
    assert next(row for row in plain["steps"] if row["name"] == "memoryFormat") == {
        "name": "memoryFormat",
        "declared": None,
        "applied": None,
        "status": "not-declared",
        "reason": None,
        "seconds": 0.0,
        "measured": {},
    }
    assert report.lines() == [
        "precision     declared tf32 → fp32 (fallback): "
        "TF32 is a mode of NVIDIA GPUs from compute capability 8.0 on; as loaded"
    ]


def test_the_log_says_what_was_measured():
    report = optimise(scores(), BF16, CPU, [Bf16()])
    line, *model = report.lines()
    assert line.startswith("precision     declared bf16 → applied bf16 (cast); cosine 0.999")
    assert " × at batch 1, " in line
    assert [text.partition(":")[0] for text in model] == ["model         batch 1", "model         batch 4"]


def test_nothing_declared_runs_nothing_and_touches_nothing():
    handler = scores()
    report = optimise(handler, PLAIN, CPU)
    assert handler.sizes == []
    assert "forward" not in handler.model.__dict__
    assert report.lines() == ["nothing declared: the model runs as loaded"]


def test_a_handler_without_a_module_is_left_alone_and_said_so():
    report = optimise(Handler(None, rows), compiled(config=BF16), CPU)
    assert {row.name: row.status for row in report.steps if row.declared} == {
        "precision": Status.NOT_APPLICABLE,
        "compile": Status.NOT_APPLICABLE,
    }
    assert report.step("compile").reason == "the handler exposes no torch module"


def test_a_handler_without_a_module_cannot_keep_a_promise_without_fallback():
    with pytest.raises(OptimiseRefused, match="without a fallback"):
        optimise(Handler(None, rows), compiled(pt2={"fallback": "fail"}), CPU)


def test_without_a_sample_a_cast_is_unverified_and_said_so():
    handler = scores(has_sample=False)
    row = optimise(handler, BF16, CPU, [Bf16()]).step("precision")
    assert (row.status, row.applied) == (Status.UNVERIFIED, "bf16 (cast)")
    assert row.reason == "not exercised: declare warmup.input"
    assert row.measured == {}
    assert handler.answer().dtype is torch.float32


def test_a_handler_that_goes_around_the_model_has_exercised_nothing():
    handler = scores(serve=lambda model, inputs: model.body(inputs))
    row = optimise(handler, BF16, CPU, [Bf16()]).step("precision")
    assert (row.status, row.applied) == (Status.FALLBACK, "as loaded")
    assert row.reason == "the sample went through the handler without a call of the model"
    assert handler.model.body.weight.dtype is torch.float32


def test_a_handler_that_fails_on_its_own_sample_is_no_optimisations_fault():
    handler = scores(serve=lambda model, inputs: model(inputs[:, :5]))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        optimise(handler, BF16, CPU, [Bf16()])
    assert "forward" not in handler.model.__dict__


def test_an_error_that_the_handler_answers_by_itself_is_still_seen():
    def polite(model, inputs):
        try:
            return model(inputs)
        except RuntimeError:
            return "sorry"

    handler = scores(serve=polite)
    handler.model.register_forward_pre_hook(lambda module, args: None)
    own = handler.model.body.forward

    def refuses(x):
        if x.dtype is torch.bfloat16:
            raise RuntimeError("not implemented for 'BFloat16'")
        return own(x)

    handler.model.body.forward = refuses
    row = optimise(handler, BF16, CPU, [Bf16()]).step("precision")
    assert (row.status, row.reason) == (Status.FALLBACK, "RuntimeError: not implemented for 'BFloat16'")
    assert handler.model.body.weight.dtype is torch.float32


def test_beyond_the_limit_fallback_takes_it_back():
    handler, plain, wrong = scores(), scores(), Wrong()
    report = optimise(handler, verifying("fallback"), CPU, [Chosen(wrong)])
    row = report.step("chosen")
    assert (row.status, row.applied) == (Status.FALLBACK, "as loaded")
    assert row.reason == "cosine -1.00000 to the model as loaded is below verify.minCosine 0.99"
    assert wrong.dropped
    assert torch.equal(handler.answer(), plain.answer())
    assert (report.verify, report.baseline_ms) == (None, {})


def test_beyond_the_limit_fail_refuses_to_load():
    handler = scores()
    with pytest.raises(OptimiseRefused, match="chosen: cosine -1.00000 .* \\(verify.action: fail\\)"):
        optimise(handler, verifying("fail"), CPU, [Chosen(Wrong())])
    assert "forward" not in handler.model.__dict__


def test_beyond_the_limit_warn_keeps_it_and_says_so():
    handler, plain = scores(), scores()
    report = optimise(handler, verifying("warn"), CPU, [Chosen(Wrong())])
    row = report.step("chosen")
    assert row.status is Status.APPLIED
    assert row.reason.endswith("below verify.minCosine 0.99 (verify.action: warn)")
    assert report.verify["passed"] is False
    assert torch.equal(handler.answer(), -plain.answer())


def test_a_step_that_fails_half_way_is_undone_and_the_next_goes_on():
    handler = scores()
    report = optimise(handler, BF16, CPU, [Chosen(Raising()), Bf16()])
    assert report.step("chosen").reason == "ValueError: half-way"
    assert report.step("precision").status is Status.APPLIED
    assert handler.answer().dtype is torch.float32


def test_a_refusal_gives_back_what_earlier_steps_did():
    handler, plain = scores(), scores()
    with pytest.raises(OptimiseRefused, match="half-way"):
        optimise(handler, BF16, CPU, [Bf16(), Chosen(Raising(), required=True)])
    assert torch.equal(handler.answer(), plain.answer())


def test_an_interrupt_gives_everything_back():
    class Interrupted(Wrong):
        def on(self):
            super().on()
            raise KeyboardInterrupt

    handler, plain, change = scores(), scores(), Interrupted()
    with pytest.raises(KeyboardInterrupt):
        optimise(handler, BF16, CPU, [Bf16(), Chosen(change)])
    assert change.dropped
    assert torch.equal(handler.answer(), plain.answer())


def test_a_step_that_says_itself_that_nothing_took_effect_is_believed():
    class Idle(Wrong):
        def proven(self):
            raise StepFailed("nothing happened")

    assert optimise(scores(), PLAIN, CPU, [Chosen(Idle())]).step("chosen").reason == "nothing happened"


def test_an_unsupported_precision_falls_back_with_the_reason(monkeypatch):
    nothing = precision_module.Native(bf16=False, fp16=False, tf32=False)
    monkeypatch.setattr(precision_module, "native", lambda device: nothing)
    handler = scores()
    row = optimise(handler, precision("fp16"), CPU).step("precision")
    assert (row.status, row.declared, row.applied) == (Status.FALLBACK, "fp16", "fp32")
    assert row.reason == "this cpu computes fp16 only by emulation; as loaded"
    assert handler.answer().dtype is torch.float32


def test_threads_are_read_back_not_repeated():
    have = torch.get_num_threads()
    same = optimise(scores(), replace(PLAIN, threads=Threads(have, False)), CPU).step("threads")
    more = optimise(scores(), replace(PLAIN, threads=Threads(have + 7, False)), CPU).step("threads")
    assert (same.status, same.applied) == (Status.APPLIED, f"{have}")
    assert (more.status, more.applied) == (Status.FALLBACK, f"{have}")
    assert more.reason == f"this worker was given {have}"
