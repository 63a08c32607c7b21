from __future__ import annotations

from runner.tune.choice import Choice
from runner.tune.facts import Goal, Load
from runner.tune.recommend import reasons
from runner.tune.space import Candidate
from tests.runner.tune.synthetic import eager, make_reading

GOAL = Goal("throughput", 100.0)
BEST, ONE = Candidate(eager(), 2, 8), Candidate(eager(), 1, 8)


def told(measured, out):
    plain = {each: {Load(8): reading} for each, reading in measured.items()}
    found = reasons(Choice(BEST, measured[BEST], met=True), plain, out, GOAL)
    return {each.setting: f"{each.value}: {each.why}" for each in found}


def test_a_setting_is_compared_with_the_best_that_another_value_gave():
    found = told({BEST: make_reading(200.0, 50.0), ONE: make_reading(120.0, 40.0)}, {})
    assert found == {"workers": "2: 1 gives 120/s at best (cpu, fp32, 1 × 1, batch 8)"}


def test_a_value_that_was_beyond_the_limit_is_told_with_its_p99():
    found = told({BEST: make_reading(200.0, 50.0), ONE: make_reading(120.0, 140.0)}, {})
    assert found["workers"] == "2: the lowest p99 of 1 was 140 ms"


def test_a_value_that_was_never_measured_is_told_with_the_reason():
    found = told({BEST: make_reading(200.0, 50.0)}, {Candidate(eager(precision="bf16"), 2, 8): "not faster"})
    assert found == {"precision": "fp32: not bf16: not faster"}
