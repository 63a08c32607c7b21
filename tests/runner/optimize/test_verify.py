from __future__ import annotations

import pytest
import torch

from archiver.config.model import Verify
from runner.optimize.edge import Call
from runner.optimize.verify import compare

LIMITS = Verify(min_cosine=0.999, max_abs_error=0.1, action="fallback")
X = torch.ones(2)


def outputs(*tensors, inputs=X):
    return [Call(inputs, tensor, 0.0) for tensor in tensors]


def test_equal_outputs_are_perfect():
    scores = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    verdict = compare(outputs(scores), outputs(scores.clone()))
    assert verdict.measured() == {"cosine": 1.0, "maxAbsError": 0.0, "maxRelError": 0.0, "top1": 1.0}
    assert verdict.beyond(LIMITS) is None


def test_the_worst_row_decides():
    before = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    after = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    verdict = compare(outputs(before), outputs(after))
    assert (verdict.cosine, verdict.max_abs_error, verdict.top1) == (0.0, 1.0, 0.5)
    assert verdict.beyond(LIMITS) == "cosine 0.00000 to the model as loaded is below verify.minCosine 0.999"


def test_the_largest_error_decides():
    verdict = compare(outputs(torch.tensor([100.0, 0.0])), outputs(torch.tensor([100.0, 0.5])))
    assert verdict.beyond(LIMITS) == "error 0.5 is above verify.maxAbsError 0.1"


def test_a_new_nan_is_a_problem_whatever_the_limits():
    anything = Verify(min_cosine=-1.0, max_abs_error=None, action="warn")
    verdict = compare(outputs(torch.ones(2)), outputs(torch.tensor([1.0, float("nan")])))
    assert verdict.beyond(anything) == "the outputs are not finite"
    assert verdict.measured() == {}


def test_masked_scores_may_be_infinite_as_long_as_they_stay_so():
    masked = torch.tensor([[1.0, float("-inf")]])
    assert compare(outputs(masked), outputs(masked.clone())).cosine == 1.0


def test_rows_of_zeros_agree_with_each_other_only():
    zeros = torch.zeros(1, 3)
    assert compare(outputs(zeros), outputs(zeros.clone())).cosine == 1.0
    assert compare(outputs(zeros), outputs(torch.ones(1, 3))).cosine == 0.0


def test_integers_are_counted():
    verdict = compare(outputs(torch.tensor([1, 2, 3, 4])), outputs(torch.tensor([1, 2, 3, 5])))
    assert verdict.top1 == 0.75


def test_other_shapes_are_a_problem():
    assert compare(outputs(torch.ones(2)), outputs(torch.ones(3))).problem == (
        "the outputs have other shapes than as loaded"
    )


def test_a_generating_model_is_compared_until_its_inputs_part():
    before = outputs(torch.ones(2), torch.ones(2))
    after = [*outputs(torch.ones(2)), *outputs(torch.zeros(2), inputs=torch.zeros(2))]
    assert compare(before, after).cosine == pytest.approx(1.0)


def test_random_inputs_cannot_be_compared():
    verdict = compare(outputs(torch.ones(2)), outputs(torch.ones(2), inputs=torch.zeros(2)))
    assert verdict.beyond(LIMITS) == (
        "the model was called with other inputs than as loaded: nothing can be compared"
    )
