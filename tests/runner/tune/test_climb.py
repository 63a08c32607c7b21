from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from runner.tune.climb import again, is_certainly_broken, next_load
from runner.tune.facts import Goal, Load
from tests.runner.tune.synthetic import make_reading

GOAL = Goal("throughput", 100.0)


def climbed(levels, start, goal=GOAL):
    """The levels in the order of asking, when `levels` gives throughput and p99 of each."""
    done = {}
    while (load := next_load(done, goal, start)) is not None:
        done[load] = make_reading(*levels(load.concurrency), load.concurrency)
    return [load.concurrency for load in done]


def test_the_concurrency_doubles_until_the_limit_is_broken():
    assert climbed(lambda level: (10.0 * level, 20.0 * level), start=2) == [2, 4, 8]


def test_it_stops_where_more_requests_bring_no_more_answers():
    assert climbed(lambda level: (10.0 * min(level, 8), level), start=4) == [4, 8, 16]


def test_it_goes_down_until_the_limit_holds():
    assert climbed(lambda level: (100.0, 90.0 + level), start=16) == [16, 8]


def test_it_goes_down_as_far_as_the_limit_was_broken_and_up_again_from_there():
    assert climbed(lambda level: (100.0 + level, 30.0 * level), start=64) == [64, 2, 4]
    assert climbed(lambda level: (level, {64: 3000.0}.get(level, level)), start=64) == [64, 2, 4, 8, 16, 32]


def test_it_ends_at_one_when_nothing_is_within_the_limit():
    assert climbed(lambda level: (1.0, 500.0), start=4) == [4, 1]


def test_levels_that_are_asked_for_are_measured_and_no_others():
    goal = Goal("throughput", 100.0, (1, 16))
    assert climbed(lambda level: (1.0, 500.0), start=4, goal=goal) == [1, 16]


def test_a_rate_is_one_load():
    done = {}
    goal = Goal("latency", None, None, 50.0)
    load = next_load(done, goal, 4)
    assert load == Load(rate=50.0)
    assert next_load({load: make_reading(50.0, 5.0)}, goal, 4) is None


def test_a_longer_trial_asks_for_the_best_level_and_for_one_that_was_just_beyond():
    done = {Load(8): make_reading(80.0, 60.0, 8), Load(16): make_reading(120.0, 110.0, 16)}
    assert again(done, GOAL) == [Load(8), Load(16)]


def test_a_longer_trial_does_not_ask_for_what_was_far_beyond():
    done = {Load(8): make_reading(80.0, 60.0, 8), Load(16): make_reading(120.0, 400.0, 16)}
    assert again(done, GOAL) == [Load(8)]


def test_near_the_limit_the_level_below_is_asked_for_as_well():
    assert again({Load(8): make_reading(80.0, 95.0, 8)}, GOAL) == [Load(8), Load(4)]


def test_one_slow_request_of_ten_in_the_first_third_is_certain():
    assert is_certainly_broken(over=10, seen=100, part=1 / 3)
    assert not is_certainly_broken(over=1, seen=100, part=1 / 3)


@given(some.floats(0.1, 1000), some.integers(0, 9))
def test_every_climb_ends_and_asks_for_no_level_twice(slope, start):
    asked = climbed(lambda level: (level * 10.0, slope * level), 1 << start)
    assert len(asked) == len({*asked}) <= 11
