from __future__ import annotations

import dataclasses
from collections import UserDict, namedtuple
from types import MappingProxyType

import torch

from runner.optimize.tensors import mapped, tensors_in
from tests.runner.optimize.models import Output

Pair = namedtuple("Pair", "left right")


@dataclasses.dataclass(frozen=True)
class Answer:
    logits: torch.Tensor
    name: str


def half(tensor):
    return tensor.half() if tensor.is_floating_point() else tensor


def test_every_container_comes_back_as_its_own_type():
    output = Output()
    output["logits"] = torch.zeros(1)
    value = {
        "output": output,
        "pair": Pair(torch.zeros(1), 3),
        "batch": UserDict(x=torch.zeros(1)),
        "answer": Answer(torch.zeros(1), "a"),
        "list": [torch.zeros(1), (torch.zeros(1), None)],
        "max": torch.zeros(2, 2).max(dim=1),
    }
    new = mapped(value, half)
    assert {key: type(part) for key, part in new.items()} == {key: type(part) for key, part in value.items()}
    assert all(tensor.dtype in (torch.half, torch.int64) for tensor in tensors_in(new))
    assert new["output"].logits is new["output"]["logits"]


def test_the_original_is_never_changed():
    value = {"x": [torch.zeros(1)], "y": Answer(torch.zeros(1), "a")}
    mapped(value, half)
    assert [tensor.dtype for tensor in tensors_in(value)] == [torch.float32, torch.float32]


def test_what_does_not_change_is_the_same_object():
    value = {"ids": torch.zeros(1, dtype=torch.long), "cache": object(), "names": ["a", ("b",)]}
    assert mapped(value, half) is value


def test_a_read_only_mapping_comes_back_as_a_dict():
    assert mapped(MappingProxyType({"x": torch.zeros(1)}), half)["x"].dtype is torch.half


def test_tensors_come_in_the_order_of_their_containers():
    first, second, third = torch.zeros(1), torch.ones(1), torch.ones(2)
    assert tensors_in([{"a": first, "b": (second,)}, Answer(third, "x")]) == [first, second, third]
