"""Weight files in the types that are served: cast where the model holds them so, else left alone."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from archiver.repack import member_of
from runner.handlers.weights import read_state
from runner.offline.weights import rewrite
from tests.archiver.scan.payloads import calling
from tests.archiver.scan.test_nested import zipped

STATE = {
    "body.weight": torch.arange(6.0).reshape(2, 3) / 7,
    "body.steps": torch.tensor(3),
    "head.weight": torch.ones(2),
}
BF16 = {"body.weight": "bfloat16", "body.steps": "int64", "head.weight": "float32"}


def rewritten(folder, name="model.pt", state=None, dtypes=BF16, own_loader=False, **metadata):
    """`rewrite` of a file with this state."""
    file = folder / "in" / name
    file.parent.mkdir(exist_ok=True)
    if name.endswith(".safetensors"):
        save_file(state or STATE, file, metadata=metadata or None)
    else:
        torch.save(STATE if state is None else state, file)
    return rewrite(member_of(name, file, "weights"), dtypes, folder / "out", own_loader=own_loader)


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_tensors_take_the_types_that_are_served_and_the_file_keeps_its_kind(tmp_path, name):
    done = rewritten(tmp_path, name)
    read = load_file if name.endswith(".safetensors") else torch.load
    state = read(done.after.source)
    assert {key: tensor.dtype for key, tensor in state.items()} == {
        "body.weight": torch.bfloat16,
        "body.steps": torch.int64,
        "head.weight": torch.float32,
    }
    assert torch.equal(state["body.weight"], STATE["body.weight"].to(torch.bfloat16))
    assert (done.after.name, done.told) == (name, "1 tensors in bfloat16")


def test_only_what_our_loader_reads_becomes_safetensors(tmp_path):
    done = rewritten(tmp_path, own_loader=True)
    assert (done.after.name, done.after.format) == ("model.safetensors", "safetensors")
    assert done.told == "1 tensors in bfloat16, as safetensors"


def test_tied_weights_are_stored_once_and_come_back_under_both_names(tmp_path):
    shared = torch.randn(300, 300)
    done = rewritten(
        tmp_path,
        state={"a": shared, "b": shared},
        dtypes={"a": "bfloat16", "b": "bfloat16"},
        own_loader=True,
    )
    state = read_state(done.after.source)
    assert done.after.name == "model.safetensors"
    assert state["a"].data_ptr() == state["b"].data_ptr()
    assert done.after.size < done.before.size * 0.6


@pytest.mark.parametrize(
    ("value", "served"),
    [
        (STATE["head.weight"][1:], "float32"),
        (torch.ones(2) + 1j, "complex64"),
        (torch.eye(2).to_sparse(), "bfloat16"),
    ],
)
def test_what_safetensors_has_no_form_for_stays_in_torchs_format(tmp_path, value, served):
    done = rewritten(tmp_path, state={**STATE, "odd": value}, dtypes={**BF16, "odd": served}, own_loader=True)
    assert done.after.name == "model.pt"


def test_a_weight_file_that_would_run_something_is_left_alone_and_never_loaded(tmp_path):
    file, touched = tmp_path / "extra.pt", tmp_path / "touched"
    file.write_bytes(zipped({"extra/data.pkl": calling(os.mkdir, str(touched), protocol=2), "extra/version": b"3"}))
    done = rewrite(member_of("extra.pt", file, "extra"), BF16, tmp_path / "out", own_loader=False)
    assert (done.after, touched.exists()) == (done.before, False)
    assert "extra.pt!extra/data.pkl: posix.mkdir" in done.told


def test_a_prefix_before_the_names_of_a_file_does_no_harm(tmp_path):
    for name in ("bert.body.weight", "weight"):
        done = rewritten(tmp_path, state={name: torch.ones(2)}, dtypes={"body.weight": "bfloat16"})
        assert done.told == "1 tensors in bfloat16"


def test_what_a_safetensors_file_says_of_itself_is_kept(tmp_path):
    done = rewritten(tmp_path, "model.safetensors", format="pt", author="me")
    with safe_open(done.after.source, framework="pt") as file:
        assert file.metadata() == {"format": "pt", "author": "me"}


@pytest.mark.parametrize(
    ("state", "dtypes", "told"),
    [
        (None, {"body.weight": "float32"}, "left as it is: served in the types that it has"),
        (None, {"other": "bfloat16"}, "left as it is: served in the types that it has"),
        ({"model": {"weight": torch.ones(2)}}, BF16, "left as it is: it holds more than a state dict"),
        ([torch.ones(2)], BF16, "left as it is: model.pt holds a list, not a state dict"),
    ],
)
def test_what_is_left_alone_is_told_with_the_reason(tmp_path, state, dtypes, told):
    done = rewritten(tmp_path, state=state, dtypes=dtypes)
    assert (done.after, done.told) == (done.before, told)


def test_files_that_hold_no_weights_are_not_weights(tmp_path):
    for name, content in (("notes.txt", "bf16"), ("model.pt", "no checkpoint at all")):
        file = tmp_path / name
        file.write_text(content)
        assert rewrite(member_of(name, file, "extra"), BF16, tmp_path / "out", own_loader=False) is None
