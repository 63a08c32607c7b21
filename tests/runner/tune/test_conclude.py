from __future__ import annotations

from runner.tune.conclude import chosen, tried
from runner.tune.facts import Goal, Load
from runner.tune.halving import Search
from runner.tune.space import Candidate
from tests.runner.tune.synthetic import eager, make_alone, make_known, make_reading

SLOW, FAST, BROKEN, OUT, LATE = (Candidate(eager(), 1, size) for size in (1, 4, 8, 16, 32))
KNOWN = make_known(Goal("throughput", 100.0), [make_alone(eager(), {1: 1.0}, measured={"cosine": 0.9999})])


def make_search(**fields):
    search = Search(KNOWN, None, lambda: 0.0, 1.0, lambda *_: None)  # type: ignore[arg-type]  # nothing is measured
    search.readings = {SLOW: {Load(8): make_reading(100.0, 50.0)}, FAST: {Load(8): make_reading(200.0, 50.0)}}
    search.finalists = [SLOW, FAST]
    search.failed = {BROKEN: "the server ended by SIGKILL"}
    for name, value in fields.items():
        setattr(search, name, value)
    return search


def test_every_candidate_is_told_the_best_first():
    found = tried([SLOW, FAST, BROKEN, OUT, LATE], {OUT: "no"}, make_search(), KNOWN.alone)
    assert [each.candidate for each in found] == [FAST, SLOW, BROKEN, OUT, LATE]
    assert [each.state for each in found] == ["measured", "measured", "failed", "out", "out"]
    assert {each.candidate: each.reason for each in found}[LATE] == "not measured: the search ended before"
    assert found[0].accuracy == {"cosine": 0.9999}


def test_those_measured_longest_come_before_a_lucky_short_reading():
    found = tried([SLOW, FAST], {}, make_search(finalists=[SLOW], failed={}), KNOWN.alone)
    assert [each.candidate for each in found] == [SLOW, FAST]


def test_before_any_server_all_are_out():
    assert {each.state for each in tried([SLOW, OUT], {OUT: "no"}, None, {})} == {"out"}


def test_the_recommendation_has_settings_reasons_and_yaml():
    found = chosen(
        make_search(), {}, lambda each: {"batchSize": each.candidate.batch_size}, lambda each, why: f"# {len(why)}"
    )
    assert found is not None and found.candidate == FAST and found.met
    assert found.settings == {"batchSize": 4} and found.yaml == "# 1"
    assert found.reasons[0]["why"].startswith("1 gives 100/s at best")


def test_a_queue_for_the_chosen_load_is_told_with_its_reason():
    found = chosen(make_search(), {}, lambda each: {"jobQueueSize": 8}, lambda each, why: "")
    assert found is not None
    assert found.reasons[-1] == {"setting": "jobQueueSize", "value": "8", "why": "room for 8 at a time"}


def test_nothing_measured_is_no_recommendation():
    assert chosen(make_search(readings={}, finalists=[]), {}, lambda each: {}, lambda each, why: "") is None
