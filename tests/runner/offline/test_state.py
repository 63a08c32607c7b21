"""Which state dict a checkpoint holds, and what is said where it holds none or more."""

from __future__ import annotations

import os

import pytest
import torch

from runner.offline.state import CannotConvert, Wanted, state_in
from tests.archiver.scan.payloads import calling
from tests.archiver.scan.test_nested import zipped

WEIGHT = torch.ones(2, 2)
TRAINING = {"model": {"w": WEIGHT}, "optimizer": {"state": {}}, "epoch": 3}


def state(folder, value, *, legacy=False, **wanted):
    torch.save(value, folder / "m.pt", _use_new_zipfile_serialization=not legacy)
    return state_in(folder / "m.pt", Wanted(**wanted))


def refusal(folder, value, **wanted) -> tuple[str, str | None]:
    """Message and hint."""
    with pytest.raises(CannotConvert) as caught:
        state(folder, value, **wanted)
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize("legacy", [False, True])
def test_a_plain_state_dict_is_taken_whole(tmp_path, legacy):
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    found = state(tmp_path, module.state_dict(), legacy=legacy)
    assert (list(found.tensors), found.left_out) == (list(module.state_dict()), {})


def test_of_a_training_s_whole_state_nothing_is_guessed(tmp_path):
    message, hint = refusal(tmp_path, TRAINING)
    held = "model (a state dict of 1 tensor), optimizer (a mapping of 1), epoch (an int)"
    assert message == f"m.pt is no state dict by itself; it holds {held}"
    assert hint == "`--key model` takes that part alone"


def test_the_state_dict_under_a_key_is_taken_and_the_rest_is_listed(tmp_path):
    found = state(tmp_path, TRAINING, key="model")
    assert list(found.tensors) == ["w"]
    assert found.left_out == {"optimizer": "a mapping of 1", "epoch": "an int"}


@pytest.mark.parametrize(("key", "problem"), [("net", "has no `net`"), ("epoch", "has an int under `epoch`")])
def test_a_key_that_leads_to_none_is_told_with_those_that_do(tmp_path, key, problem):
    message, hint = refusal(tmp_path, TRAINING, key=key)
    assert message.startswith(f"m.pt {problem}; it holds model (a state dict of 1 tensor), optimizer")
    assert hint == "`--key model` takes that part alone"


def test_what_is_no_tensor_is_left_out_only_where_that_is_wanted(tmp_path):
    value = {"w": WEIGHT, "epoch": 3, "empty": {}, "note": None}
    message, hint = refusal(tmp_path, value)
    assert message == "m.pt holds more than tensors: epoch (an int), empty (a mapping of 0), note (nothing)"
    assert hint == "`--tensors-only` leaves that out"
    found = state(tmp_path, value, tensors_only=True)
    assert (list(found.tensors), set(found.left_out)) == (["w"], {"epoch", "empty", "note"})


def test_weights_inside_are_never_left_out_for_what_lies_beside_them(tmp_path):
    message, hint = refusal(tmp_path, {"model": {"w": WEIGHT}, "scale": WEIGHT}, tensors_only=True)
    assert message.startswith("m.pt is no state dict by itself; it holds model (a state dict of 1 tensor)")
    assert hint == "`--key model` takes that part alone"
    message, _ = refusal(tmp_path, {"all": {"model": {"w": WEIGHT}}}, key="all")
    assert message == "`all` of m.pt is no state dict by itself; it holds model (a state dict of 1 tensor)"


def test_a_tensor_that_does_not_fit_is_never_left_out(tmp_path):
    message, _ = refusal(tmp_path, {"w": WEIGHT, "spectrum": WEIGHT + 1j}, tensors_only=True)
    assert message == "safetensors cannot hold m.pt: spectrum is of type complex64, which not every safetensors reads"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({}, "m.pt holds no tensor"),
        ([WEIGHT], "m.pt holds a list, not a state dict"),
        (WEIGHT, "m.pt holds a Tensor, not a state dict"),
    ],
)
def test_a_file_without_a_state_dict_is_told(tmp_path, value, problem):
    assert refusal(tmp_path, value)[0] == problem


def test_a_pickled_module_is_named_by_its_classes_and_never_unpickled(tmp_path):
    message, hint = refusal(tmp_path, torch.nn.Linear(2, 2))
    assert (
        message
        == "m.pt wants more than torch's weights_only list allows: m.pt!m/data.pkl: torch.nn.modules.linear.Linear"
    )
    assert "archive scan" in (hint or "")


@pytest.mark.parametrize("by_list", ["0", "1"])
def test_what_the_list_refuses_is_not_run_whatever_the_environment_says(tmp_path, monkeypatch, by_list):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", by_list)
    made = tmp_path / "made"
    evil = zipped({"m/data.pkl": calling(os.mkdir, str(made), protocol=2), "m/version": b"3"})
    (tmp_path / "m.pt").write_bytes(evil)
    with pytest.raises(CannotConvert, match=r"m\.pt!m/data\.pkl: posix\.mkdir"):
        state_in(tmp_path / "m.pt", Wanted())
    assert not made.exists()


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_told(tmp_path, part):
    state(tmp_path, {"w": torch.ones(100)})
    whole = (tmp_path / "m.pt").read_bytes()
    (tmp_path / "m.pt").write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(CannotConvert, match="cannot be looked into"):
        state_in(tmp_path / "m.pt", Wanted())


def test_a_pickle_with_a_safetensors_name_is_told(tmp_path):
    torch.save({"w": WEIGHT}, tmp_path / "m.safetensors")
    with pytest.raises(CannotConvert, match=r"m\.safetensors cannot be read"):
        state_in(tmp_path / "m.safetensors", Wanted())
