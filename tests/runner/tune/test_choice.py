from __future__ import annotations

import pytest

from runner.tune.choice import choose
from runner.tune.facts import Goal
from runner.tune.space import Candidate
from tests.runner.tune.synthetic import eager, make_reading, make_space

SPACE = make_space()
ONE, TWO = Candidate(eager(), 1, 8), Candidate(eager(), 2, 8)
GOAL = Goal("throughput", 100.0)


def test_the_most_answers_within_the_limit_win():
    choice = choose({ONE: [make_reading(100, 50)], TWO: [make_reading(150, 90)]}, GOAL, SPACE)
    assert choice is not None and choice.candidate == TWO and choice.met


def test_what_is_beyond_the_limit_does_not_win_however_fast_it_is():
    choice = choose({ONE: [make_reading(100, 50)], TWO: [make_reading(900, 101)]}, GOAL, SPACE)
    assert choice is not None and choice.candidate == ONE


def test_a_level_with_failed_requests_does_not_count():
    levels = [make_reading(100, 50, 8), make_reading(200, 60, 16, failed=1)]
    choice = choose({ONE: levels}, GOAL, SPACE)
    assert choice is not None and choice.reading.load.concurrency == 8


def test_of_two_as_good_the_simpler_one_wins_and_the_other_is_told():
    choice = choose({TWO: [make_reading(101, 50)], ONE: [make_reading(100, 50)]}, GOAL, SPACE)
    assert choice is not None and (choice.candidate, choice.equals) == (ONE, (TWO,))


def test_where_nothing_is_within_the_limit_the_nearest_is_told_as_such():
    found = {ONE: [make_reading(10, 300, 1), make_reading(40, 900, 8)], TWO: [make_reading(90, 400)]}
    choice = choose(found, GOAL, SPACE)
    assert choice is not None and not choice.met
    assert (choice.candidate, choice.reading.p99) == (ONE, 300)


def test_the_lowest_p99_wins_for_latency():
    goal = Goal("latency", None, (1,))
    choice = choose({ONE: [make_reading(10, 30)], TWO: [make_reading(10, 20)]}, goal, SPACE)
    assert choice is not None and choice.candidate == TWO


def test_the_fewest_core_seconds_win_for_cost():
    goal = Goal("cost", 100.0)
    found = {ONE: [make_reading(100, 50, cores=1.0)], TWO: [make_reading(150, 50, cores=2.0)]}
    choice = choose(found, goal, SPACE)
    assert choice is not None and choice.candidate == ONE
    assert choice.reading.cost == pytest.approx(0.01)


def test_nothing_measured_is_no_choice():
    assert choose({}, GOAL, SPACE) is None
    assert choose({ONE: []}, GOAL, SPACE) is None
