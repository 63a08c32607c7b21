"""Indices that eager would refuse never reach compiled code: there they would end the process."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from runner.optimize.batch import Rows
from runner.optimize.bounds import Bounds, bounds_of
from runner.optimize.edge import Call
from runner.optimize.guarded import Unfit, guard_of
from runner.optimize.pipeline import optimise
from tests.runner.optimize.models import CPU, Handler, compiled


class Tokens(nn.Module):
    """Words, kinds and positions, as text models have them."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 4)
        self.kinds = nn.Embedding(2, 4)
        self.positions = nn.Embedding(16, 4)

    def forward(self, ids: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        places = torch.arange(ids.shape[1])
        return (self.words(ids) + self.kinds(kinds) + self.positions(places)).mean(1)


def ids(*shape, value=3):
    return torch.full(shape, value, dtype=torch.int64)


def bounds():
    module = Tokens().eval()
    rows = Rows((True, True), (True,), ((1,), (1,)))
    return bounds_of(module, module.forward, Call(((ids(2, 7), ids(2, 7, value=0)), {}), None, 0.0), rows)


def test_tables_of_inputs_and_of_positions_are_told_apart():
    assert bounds() == Bounds({0: 50, 1: 2}, {(0, 1): 16, (1, 1): 16})


class Unkind(Tokens):
    """Fills the kinds in, as BERT does for who does not give them."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return super().forward(ids, torch.zeros_like(ids))


def test_a_kind_that_the_model_fills_in_for_all_tokens_bounds_no_length():
    module = Unkind().eval()
    call = Call(((ids(2, 7),), {}), None, 0.0)
    assert bounds_of(module, module.forward, call, Rows((True,), (True,), ((1,),))) == Bounds({0: 50}, {(0, 1): 16})


def test_what_the_tables_have_is_let_through():
    bounds().check([ids(3, 16, value=49), ids(3, 16, value=1)])
    bounds().check([ids(0, 16), ids(0, 16)])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ([ids(2, 7, value=50), ids(2, 7, value=0)], "input 0 goes from 50 to 50, its table from 0 to 49"),
        ([ids(2, 7, value=-1), ids(2, 7, value=0)], "input 0 goes from -1 to -1"),
        ([ids(2, 7), ids(2, 7, value=2)], "input 1 goes from 2 to 2, its table from 0 to 1"),
        ([ids(2, 17), ids(2, 17, value=0)], "input 0 is 17 long, there are 16 positions"),
    ],
)
def test_what_goes_beyond_is_unfit(call, said):
    with pytest.raises(Unfit) as unfit:
        bounds().check(call)
    assert said in str(unfit.value)


def test_a_model_without_tables_has_no_bounds():
    module = nn.Linear(2, 2)
    assert bounds_of(module, module.forward, Call(((torch.ones(1, 2),), {}), None, 0.0), None) == Bounds()


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_served_model_refuses_such_a_call_as_eager_does_and_goes_on(backend):
    torch.manual_seed(0)
    handler = Handler(
        Tokens().eval(),
        lambda n: (ids(n, 7), ids(n, 7, value=0)),
        lambda model, inputs: model(*inputs),
    )
    optimise(handler, compiled(backend, pt2={"timeout": 300}), CPU)
    with torch.inference_mode(), pytest.raises(IndexError):
        handler.model(ids(2, 7, value=99), ids(2, 7, value=0))
    assert handler.answer(2).shape == (2, 4)
    guard = guard_of(handler.model)
    assert (guard.recompiles, guard.failures, guard.eager_only) == (1, 0, False)
