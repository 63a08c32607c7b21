from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from runner.tune.choice import choose, score
from runner.tune.facts import MOST, Goal, Load
from runner.tune.halving import LONG, SHORT, Search
from runner.tune.space import Candidate
from tests.runner.tune.synthetic import Line, World, eager, make_reading, make_space

GOAL = Goal("throughput", 100.0)
SPACE = make_space(workers=(1, 2), threads=(1, 2))


def make_world(**fields):
    models = {eager(): Line(4.0, 3.0), eager(precision="bf16"): Line(4.0, 1.0), eager(threads=2): Line(4.0, 2.0)}
    return World(**{"models": models, "within": SPACE, **fields})


def search_in(world, goal=GOAL, budget=600.0, told=lambda candidate, state, detail: None):
    search = Search(world.known(goal), world, world.clock, world.now + budget, told)
    search.run(world.candidates(goal))
    return search


def best_of_all(world, goal=GOAL):
    """Every candidate at every level."""
    loads = [Load(1 << power) for power in range(MOST.bit_length())]
    every = [each for each in world.within.candidates() if each.cores <= 2 and each.variant in world.models]
    return choose({each: [world.truth(each, load) for load in loads] for each in every}, goal, world.within)


def test_it_finds_what_a_grid_finds():
    world = make_world()
    found, best = search_in(world).choice, best_of_all(world)
    assert found is not None and best is not None
    assert found.candidate.name == best.candidate.name == "cpu, bf16, 2 × 1, batch 32"


def test_all_get_short_trials_and_the_last_few_long_ones_in_turn():
    world = make_world()
    search = search_in(world)
    lengths = [seconds for _, _, seconds in world.asked]
    assert lengths == sorted(lengths), "the short ones come first"
    assert {*lengths} == {SHORT, LONG}
    assert 1 <= len(search.finalists) <= 3


def test_what_cannot_be_the_best_is_left_out_with_the_figures():
    search = search_in(make_world())
    reasons = [why for each, why in search.out.items() if each.workers == 1]
    assert reasons and all("at best by the model alone" in why and "with cpu, bf16" in why for why in reasons)


def test_the_same_measurements_give_the_same_choice():
    worlds = [make_world(noise=lambda number: 1 + 0.1 * random.Random(number).random()) for _ in range(2)]
    assert search_in(worlds[0]).choice == search_in(worlds[1]).choice
    assert worlds[0].asked == worlds[1].asked


@pytest.mark.parametrize("budget", [5.0, 20.0, 60.0])
def test_the_budget_is_kept_and_what_it_does_not_reach_is_told(budget):
    world = make_world(per_row=0.5)
    search = search_in(world, budget=budget)
    assert world.now <= budget + world.start + 12 * SHORT, "only the first trial may exceed it"
    assert search.choice is not None
    if budget < 20:
        assert "not measured: the budget was used up" in search.out.values()


def test_a_machine_that_was_busy_at_the_first_trial_does_not_cost_the_best_its_place():
    busy = make_world(per_row=0.8, noise=lambda number: 0.5 if number < 5 else 1.0)
    found, best = search_in(busy).choice, best_of_all(make_world(per_row=0.8))
    assert found is not None and best is not None
    assert found.reading.throughput >= 0.95 * best.reading.throughput


def test_a_budget_that_is_over_before_the_first_server_measures_nothing():
    world = make_world()
    search = search_in(world, budget=0.0)
    assert world.asked == [] and search.choice is None
    assert {*search.out.values()} == {"not measured: the budget was used up"}


def test_a_server_that_dies_is_out_and_the_others_go_on():
    best = Candidate(eager(precision="bf16"), 2, 32)
    search = search_in(make_world(dying=frozenset([best])))
    assert search.failed == {best: "the server ended by SIGKILL"}
    assert search.choice is not None and search.choice.met and best not in search.readings


def test_a_server_that_dies_in_the_last_rung_is_no_choice():
    world = make_world()
    winner = search_in(world).choice
    late = make_world()
    read = late.read

    def dying_late(candidate, load, seconds):
        if candidate == winner.candidate and seconds == LONG:
            late.dying = frozenset([candidate])
        return read(candidate, load, seconds)

    late.read = dying_late
    search = search_in(late)
    assert search.choice is not None and search.choice.candidate != winner.candidate


def test_an_interruption_keeps_what_was_measured():
    world = make_world()
    read = world.read

    def interrupted(candidate, load, seconds):
        if len(world.asked) == 4:
            raise KeyboardInterrupt
        return read(candidate, load, seconds)

    world.read = interrupted
    search = Search(world.known(GOAL), world, world.clock, 600.0, lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        search.run(world.candidates(GOAL))
    assert search.choice is not None


def test_when_no_finalist_keeps_the_limit_in_the_end_another_one_that_did_is_chosen():
    world = make_world()
    search = Search(world.known(GOAL), world, world.clock, 600.0, lambda *_: None)
    fast, sure = Candidate(eager(), 2, 32), Candidate(eager(), 1, 8)
    search.readings = {fast: {Load(8): make_reading(900.0, 101.0)}, sure: {Load(8): make_reading(90.0, 50.0)}}
    search.finalists = [fast]
    assert search.choice is not None and (search.choice.candidate, search.choice.met) == (sure, True)


def test_where_nothing_is_within_the_limit_the_nearest_is_found():
    goal = Goal("throughput", 4.9)
    choice = search_in(make_world(), goal).choice
    assert choice is None or not choice.met or choice.reading.p99 <= 4.9


def test_a_listener_hears_each_step():
    heard = []
    search_in(make_world(), told=lambda candidate, state, detail: heard.append(state))
    assert {"measuring", "measured", "out"} == {*heard}


lines = some.builds(Line, some.floats(0.2, 20), some.floats(0.2, 10))


@settings(max_examples=150, deadline=None)
@given(lines, lines, lines, some.sampled_from([3.0, 20.0, 100.0, 1000.0]), some.floats(0.01, 1.0))
@example(Line(7.5, 9.5), Line(7.0, 10.0), Line(7.0, 9.5), 20.0, 1.0)  # one of them keeps the limit, by a hair
def test_for_any_models_the_choice_is_within_a_twentieth_of_the_best(one, two, three, sla, per_row):
    models = {eager(): one, eager(precision="bf16"): two, eager(threads=2): three}
    world, goal = World(models, SPACE, per_row), Goal("throughput", sla)
    best, found = best_of_all(world, goal), search_in(world, goal).choice
    if best is None or not best.met:
        return
    assert found is not None and found.met
    assert score(found.reading, goal) >= 0.95 * score(best.reading, goal)
