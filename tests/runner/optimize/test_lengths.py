"""One sample has one length: others are tried before READY, compiled code against eager."""

from __future__ import annotations

import pytest
import torch

from runner.optimize.batch import Rows, lengths_in
from runner.optimize.edge import Call
from runner.optimize.guarded import Unfit
from runner.optimize.lengths import check_lengths
from runner.optimize.step import StepFailed

IDS = torch.arange(12).reshape(2, 6)
ROWS = Rows((True,), (True,), ((1,),))
CALL = Call(((IDS,), {}), None, 0.0)


def eager(ids):
    return ids.float().cumsum(1)


def test_half_and_double_the_length_are_compared_with_eager():
    seen = []
    found = check_lengths(lambda ids: seen.append(ids.shape) or eager(ids), eager, CALL, ROWS)
    assert seen == [(2, 3), (2, 12)]
    assert found == {"lengths": {"half": "runs compiled", "double": "runs compiled"}}


def test_an_answer_that_only_fits_the_samples_length_is_refused():
    with pytest.raises(StepFailed, match="wrong for sequences of another length"):
        check_lengths(lambda ids: -eager(ids), eager, CALL, ROWS)


def test_a_length_that_the_model_refuses_is_no_fault_of_the_compiled_code():
    def short(ids):
        if ids.shape[1] > 6:
            raise IndexError("index out of range")
        return eager(ids)

    found = check_lengths(eager, short, CALL, ROWS)["lengths"]
    assert found == {"half": "runs compiled", "double": "refused by the model: index out of range"}


def test_a_length_that_was_not_compiled_is_told():
    def fixed(ids):
        raise Unfit("input 0 has the shape (2, 3)")

    found = check_lengths(fixed, eager, CALL, ROWS)["lengths"]
    assert found["half"] == "runs eager: input 0 has the shape (2, 3)"


def test_a_model_without_sequences_has_no_lengths_to_try():
    assert check_lengths(eager, eager, CALL, None) == {}
    assert check_lengths(eager, eager, CALL, Rows((True,), (True,), ((),))) == {}


@pytest.mark.parametrize(
    ("tensors", "lengths"),
    [
        ([torch.ones(4, 7, dtype=torch.int64)], ((1,),)),
        ([torch.ones(4, 7, dtype=torch.int64), torch.ones(4, 7, 7)], ((1,), (1, 2))),
        ([torch.ones(4, 7, dtype=torch.int64), torch.ones(4, 7, dtype=torch.bool)], ((1,), (1,))),
        ([torch.ones(4, 7)], ((),)),
        ([torch.ones(4, 1, dtype=torch.int64)], ((),)),
        ([torch.ones(4, dtype=torch.int64), torch.ones(4, 3)], ((), ())),
    ],
)
def test_a_matrix_of_integers_is_taken_for_token_sequences(tensors, lengths):
    assert lengths_in(tensors) == lengths
