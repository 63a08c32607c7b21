from __future__ import annotations

import pytest
import torch

from runner.optimize.edge import Edge
from runner.optimize.precision import Native, PrecisionPlan, PrecisionStep, choose
from runner.optimize.step import AlreadySo, StepFailed
from tests.runner.optimize.models import CPU, PLAIN, Scores, conv, encoder, precision, rows, scores

NOTHING = Native(bf16=False, fp16=False, tf32=False)
HOPPER = Native(bf16=True, fp16=True, tf32=True)
STEP = PrecisionStep()


def switched_on(handler, name="bf16", mode="cast", keep=None):
    edge = Edge(handler.model)
    edge.attach()
    change = STEP.change(edge, PrecisionPlan(name, mode, keep or {}, CPU))
    change.on()
    return change


@pytest.mark.parametrize(
    ("declared", "native", "device", "chosen"),
    [
        ("bf16", HOPPER, "cuda", "bf16"),
        ("bf16", NOTHING, "cpu", "fp32"),
        ("fp16", NOTHING, "cpu", "fp32"),
        ("tf32", NOTHING, "cpu", "fp32"),
        ("fp32", NOTHING, "cpu", "fp32"),
        ("auto", HOPPER, "cuda", "bf16"),
        ("auto", Native(bf16=False, fp16=True, tf32=False), "cuda", "fp16"),
        ("auto", Native(bf16=False, fp16=True, tf32=False), "cpu", "fp32"),
        ("auto", NOTHING, "cpu", "fp32"),
    ],
)
def test_what_the_device_does_not_compute_becomes_fp32_and_is_said(declared, native, device, chosen):
    name, reason = choose(declared, native, device)
    assert name == chosen
    assert (reason is None) == (chosen != "fp32" or declared == "fp32")


def test_tf32_on_a_cpu_says_what_tf32_is():
    assert choose("tf32", NOTHING, "cpu")[1] == "TF32 is a mode of NVIDIA GPUs from compute capability 8.0 on"


def test_not_declared_is_no_wish():
    assert STEP.declared(PLAIN, CPU) is None


def test_tf32_on_a_cpu_is_a_wish_for_fp32():
    wish = STEP.declared(precision("tf32"), CPU)
    assert (wish.plan.name, wish.replaced) == ("fp32", True)


def test_a_cast_model_computes_in_bf16_and_answers_in_fp32():
    handler = scores()
    switched_on(handler)
    assert handler.model.body.weight.dtype is torch.bfloat16
    assert handler.answer().dtype is torch.float32
    assert handler.model.seen is torch.bfloat16


def test_nested_inputs_are_cast_masks_and_ids_are_not_and_outputs_keep_their_type():
    handler = encoder()
    plain = handler.answer(2)
    switched_on(handler)
    handler.serve = lambda model, inputs: model(inputs["tokens"], mask=inputs["mask"].float(), extra={"x": [rows(1)]})
    answer = handler.answer(2)
    assert type(answer) is type(plain)
    assert answer.states.dtype is answer["pooled"][0].dtype is torch.float32
    assert answer["pooled"][1]["count"].is_floating_point()


def test_off_gives_back_the_very_numbers_that_were_loaded():
    handler = scores()
    before, weight = handler.answer(3), handler.model.body.weight
    change = switched_on(handler, keep={"norm": "fp32"})
    assert not torch.equal(handler.answer(3), before)
    change.off()
    assert torch.equal(handler.answer(3), before)
    assert handler.model.body.weight is weight


def test_on_and_off_can_take_turns():
    handler = scores()
    change = switched_on(handler)
    short = handler.answer()
    change.off()
    change.on()
    assert torch.equal(handler.answer(), short)


def test_tied_weights_stay_tied():
    handler = scores()
    handler.model.twin = torch.nn.Linear(6, 24)
    handler.model.twin.weight = handler.model.body.weight
    switched_on(handler)
    assert handler.model.twin.weight is handler.model.body.weight
    assert handler.model.twin.weight.data_ptr() == handler.model.body.weight.data_ptr()


@pytest.mark.parametrize("mode", ["cast", "autocast"])
def test_kept_modules_compute_in_fp32(mode):
    handler = scores()
    seen = {}
    for name in ("body", "head"):
        layer = getattr(handler.model, name)
        own = layer.forward
        layer.forward = lambda x, own=own, name=name: seen.setdefault(name, own(x))
    change = switched_on(handler, mode=mode, keep={"he*": "fp32"})
    assert handler.answer().dtype is torch.float32
    assert handler.model.head.weight.dtype is torch.float32
    assert (seen["body"].dtype, seen["head"].dtype) == (torch.bfloat16, torch.float32)
    assert change.text == f"bf16 ({mode}, 1 module kept in fp32)"


def test_autocast_leaves_the_weights_alone():
    handler = scores()
    change = switched_on(handler, mode="autocast")
    assert handler.model.body.weight.dtype is torch.float32
    assert handler.answer().dtype is torch.float32
    change.off()
    assert not torch.is_autocast_enabled("cpu")


def test_a_glob_that_matches_nothing_is_no_success():
    with pytest.raises(StepFailed, match="keep: no module is called `haed`, did you mean `head`?"):
        switched_on(scores(), keep={"haed": "fp32"})


def test_fp32_for_a_model_that_is_fp32_is_already_so():
    with pytest.raises(AlreadySo, match="as loaded"):
        switched_on(scores(), "fp32")


def test_fp32_for_a_model_saved_in_half_precision_makes_it_fp32():
    handler = scores()
    handler.model.bfloat16()
    switched_on(handler, "fp32")
    assert handler.answer().dtype is torch.float32


def test_tf32_sets_torchs_switch_and_puts_it_back():
    change = switched_on(scores(), "tf32")
    assert torch.get_float32_matmul_precision() == "high"
    change.off()
    assert torch.get_float32_matmul_precision() == "highest"


def test_batch_norm_buffers_are_cast_counters_are_not():
    handler = conv()
    handler.model.norm = torch.nn.BatchNorm2d(8)
    switched_on(handler)
    assert handler.model.norm.running_mean.dtype is torch.bfloat16
    assert handler.model.norm.num_batches_tracked.dtype is torch.int64


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_torchscript_model_is_cast_and_given_back():
    handler = scores()
    handler.model = torch.jit.trace(torch.nn.Linear(6, 4).eval(), rows(1))
    before = handler.answer()
    change = switched_on(handler)
    assert next(handler.model.parameters()).dtype is torch.bfloat16
    assert handler.answer().dtype is torch.float32
    change.off()
    assert torch.equal(handler.answer(), before)


def test_a_kept_module_is_transparent_to_the_compiler():
    handler = scores()
    switched_on(handler, keep={"norm": "fp32"})
    whole = torch.compile(Scores.forward, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        assert whole(handler.model, rows(3).bfloat16()).dtype is torch.bfloat16
    torch._dynamo.reset()
