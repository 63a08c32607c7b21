"""What a package may be called with: code without guards must never see another shape than it was made for."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runner.optimize import package
from runner.optimize.edge import Call
from runner.optimize.guarded import Unfit
from runner.optimize.package import Dim, Input, Signature, read_sample, read_signature, same_structure, write_sample
from runner.optimize.step import StepFailed
from runner.optimize.tensors import tensors_in

BATCH, LENGTH = Dim("batch", 1, 8), Dim("length", 2, 512)
TOKENS = Signature("cpu", (Input("int64", (BATCH, LENGTH)), Input("int64", (BATCH, LENGTH))))
ROWS = Signature("cpu", (Input("float32", (BATCH, 6)),))


def ids(*shape):
    return torch.ones(*shape, dtype=torch.int64)


@given(st.integers(1, 8), st.integers(2, 40))
def test_every_batch_and_length_within_the_limits_fits(batch, length):
    assert len(TOKENS.fitted([ids(batch, length), ids(batch, length)])) == 2


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ([ids(9, 4), ids(9, 4)], "shape (9, 4), compiled is (1…8, 2…512)"),
        ([ids(2, 1), ids(2, 1)], "shape (2, 1)"),
        ([ids(2, 513), ids(2, 513)], "shape (2, 513)"),
        ([ids(2, 4), ids(3, 4)], "input 1"),
        ([ids(2, 4), ids(2, 5)], "input 1"),
        ([ids(2, 4)], "1 tensors instead of 2"),
        ([ids(2, 4), ids(2, 4).float()], "input 1 is float32 on cpu, not int64"),
        ([ids(2, 4, 1), ids(2, 4, 1)], "shape (2, 4, 1)"),
        ([ids(2, 4), ids(2, 4).to("meta")], "on meta"),
    ],
)
def test_what_does_not_fit_is_told_with_what_is_different(tensors, said):
    with pytest.raises(Unfit) as unfit:
        TOKENS.fitted(tensors)
    assert said in str(unfit.value)


def test_a_dimension_without_a_limit_takes_any_size():
    unlimited = Signature("cpu", (Input("float32", (Dim("batch", 1, None), 6)),))
    assert unlimited.fitted([torch.ones(100_000, 6)])
    assert json.loads(unlimited.to_json())["inputs"][0]["dims"][0]["most"] is None


def test_other_strides_are_made_those_that_were_compiled():
    (fitted,) = ROWS.fitted([torch.ones(6, 4).t()])
    assert fitted.is_contiguous()
    images = Signature("cpu", (Input("float32", (BATCH, 3, 4, 4), channels_last=True),))
    (fitted,) = images.fitted([torch.ones(2, 3, 4, 4)])
    assert fitted.is_contiguous(memory_format=torch.channels_last)


def test_a_signature_survives_the_disk(tmp_path):
    (tmp_path / "signature.json").write_text(TOKENS.to_json())
    assert read_signature(tmp_path) == TOKENS


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"device": "cpu", "inputs": [{}]}'])
def test_a_damaged_signature_is_a_failed_step(tmp_path, text):
    (tmp_path / "signature.json").write_text(text)
    with pytest.raises(StepFailed, match="signature cannot be read"):
        read_signature(tmp_path)


def test_the_kept_sample_is_the_calls_tensors_and_the_codes_answers(tmp_path):
    call = Call(((torch.arange(3.0),), {"mask": torch.ones(2)}), None, 0.0)
    write_sample(tmp_path, lambda x, mask: {"a": x + 1, "b": [mask * 2]}, call)
    kept = read_sample(tmp_path)
    assert [tensor.tolist() for tensor in kept.inputs[0]] == [[0.0, 1.0, 2.0], [1.0, 1.0]]
    assert [tensor.tolist() for tensor in tensors_in(kept.output)] == [[1.0, 2.0, 3.0], [2.0, 2.0]]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"x": ids(1), "flag": True}, {"x": ids(2), "flag": True}, True),
        ({"x": ids(1), "flag": True}, {"x": ids(2), "flag": False}, False),
        ((ids(1), 3), (ids(1), 4), False),
        ([ids(1)], (ids(1),), False),
        ({"x": ids(1)}, {"y": ids(1)}, False),
        ({"x": ids(1)}, {"x": None}, False),
        ([ids(1), [ids(1)]], [ids(3), [ids(3)]], True),
    ],
)
def test_structure_is_everything_but_the_tensors(one, other, same):
    assert same_structure(one, other) is same


def test_a_call_that_asks_for_its_inputs_gradient_is_unfit(tmp_path, monkeypatch):
    class Runner:
        def run(self, tensors):
            return [tensors[0] * 2]

    (tmp_path / "signature.json").write_text(ROWS.to_json())
    monkeypatch.setattr(package, "_runner", lambda *_: Runner())
    rows = torch.ones(2, 6)
    compiled = package.load(tmp_path, Call(((rows,), {}), rows, 0.0), rows.device)
    assert compiled(rows).sum() == 24
    wanted = torch.ones(2, 6, requires_grad=True)
    with torch.no_grad():
        assert compiled(wanted).sum() == 24
    with pytest.raises(Unfit, match="gradient is asked for"):
        compiled(wanted)
