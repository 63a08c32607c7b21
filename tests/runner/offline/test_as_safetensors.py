"""What a safetensors file can hold, and that it holds it."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_model

from archiver.errors import CannotWrite
from runner.handlers.weights import read_state
from runner.offline.as_safetensors import differences, save, tied, unfit, views

BASE = torch.arange(12.0)
TYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    *(torch.uint16, torch.uint32, torch.uint64),
)


def saved(folder, state, **said):
    """The file, which holds the state."""
    file = folder / "model.safetensors"
    save(state, file, **said)
    assert list(differences(state, file)) == []
    return file


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_every_type_that_fits_comes_back(tmp_path, dtype):
    some, none = torch.arange(4).to(dtype), torch.empty(0, 3, dtype=dtype)
    state = {"some": some, "none": none, "scalar": torch.tensor(1).to(dtype)}
    assert not any(unfit(name, value) for name, value in state.items())
    saved(tmp_path, state)


_bits = st.binary(min_size=16, max_size=16).map(lambda raw: torch.frombuffer(bytearray(raw), dtype=torch.uint8))
_layouts = st.sampled_from(
    [
        lambda t: t,
        lambda t: t[1:],
        lambda t: t.view(2, -1).t(),
        lambda t: t[::2],
        lambda t: t.view(2, -1)[:, 1:],
        lambda t: t[:1].expand(3),
        lambda t: t[:0],
    ]
)
_typed = st.sampled_from([torch.uint8, torch.float32, torch.float16, torch.bfloat16, torch.int16, torch.float8_e5m2])


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_whatever_shares_memory_and_lies_however_comes_back_bit_for_bit(tmp_path_factory, data):
    """NaNs with their payloads, too: the memory holds any bytes."""
    bases = data.draw(st.lists(st.builds(lambda raw, dtype: raw.view(dtype), _bits, _typed), min_size=1, max_size=2))
    picks = data.draw(st.lists(st.tuples(st.sampled_from(bases), _layouts), min_size=1, max_size=5))
    state = {f"t{number}": layout(base) for number, (base, layout) in enumerate(picks)}
    saved(tmp_path_factory.mktemp("any"), state)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("epoch", 3, "is an int"),
        ("a", None, "is nothing"),
        ("a", {}, "is a mapping of 0"),
        ("a", {"b": BASE}, "is a state dict of 1 tensor"),
        (7, BASE, "has a name that safetensors cannot store"),
        ("__metadata__", BASE, "has a name that safetensors cannot store"),
        ("\ud800", BASE, "has a name that safetensors cannot store"),
        ("a", BASE + 1j, "is of type complex64, which not every safetensors reads"),
        ("a", torch.eye(2).to_sparse(), "is sparse (sparse_coo)"),
        ("a", torch.empty(2, device="meta"), "has no data (meta)"),
        ("a", torch.ones(1).expand(1 << 40), "repeats its memory (expanded)"),
    ],
)
def test_what_does_not_fit_is_told_with_the_reason(name, value, why):
    assert unfit(name, value) == why


def test_a_quantized_tensor_does_not_fit():
    with warnings.catch_warnings():
        # torch warns of it once in a process, wherever that was.
        warnings.simplefilter("ignore")
        value = torch.quantize_per_tensor(BASE, 0.1, 0, torch.qint8)
    assert unfit("a", value) == "is quantized"


def test_tied_tensors_are_stored_once_and_the_others_lead_there(tmp_path):
    state = {"first": BASE, "second": BASE, "same values": BASE.clone(), "view": BASE[1:]}
    assert tied(state) == {"second": "first"}
    assert views(state) == ["first", "view"]
    with safe_open(saved(tmp_path, state), framework="pt") as file:
        assert sorted(file.keys()) == ["first", "same values", "view"]
        assert file.metadata() == {"format": "pt", "second": "first"}


def test_empty_tensors_are_tied_to_nothing():
    assert tied({"a": torch.empty(0), "b": torch.empty(0)}) == {}


def test_a_tied_tensor_named_as_what_the_file_says_of_itself_is_stored_too(tmp_path):
    saved(tmp_path, {"a": BASE, "format": BASE})


def test_files_of_save_model_have_all_their_names(tmp_path):
    module = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "b": torch.nn.Linear(2, 2)})
    module["b"].weight = module["a"].weight
    save_model(module, tmp_path / "m.safetensors")
    assert set(read_state(tmp_path / "m.safetensors")) == set(module.state_dict())


@pytest.mark.parametrize(
    "other", [{"a": -BASE}, {"a": BASE.double()}, {"a": BASE[:1]}, {"b": BASE}, {"a": BASE, "b": BASE}]
)
def test_every_difference_is_found(tmp_path, other):
    file = saved(tmp_path, {"a": BASE})
    assert list(differences(other, file))


def test_where_nothing_can_be_written_is_told(tmp_path):
    with pytest.raises(CannotWrite, match="cannot write"):
        save({"a": BASE}, tmp_path / "nowhere" / "model.safetensors")
