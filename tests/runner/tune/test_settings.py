from __future__ import annotations

import pytest

from archiver.config.validate import check_values
from runner.cli.overrides import overrides
from runner.tune.facts import Goal
from runner.tune.settings import formats, nested, of_candidate, room, words_of
from runner.tune.space import Candidate
from tests.runner.tune.synthetic import eager


def settings_of(variant, own_device="cpu", *, compiles=False):
    return of_candidate(Candidate(variant, 2, 8), own_device=own_device, compiles=compiles)


def test_a_candidate_says_its_workers_threads_batch_size_and_what_differs():
    assert settings_of(eager(precision="bf16", compiled=True)) == {
        "minWorkers": 2,
        "maxWorkers": 2,
        "threads.intraOp": 1,
        "batchSize": 8,
        "precision.dtype": "bf16",
        "pt2.compile.enable": True,
    }


def test_what_is_as_declared_is_not_said():
    assert {*settings_of(eager(precision=None))} == {"minWorkers", "maxWorkers", "threads.intraOp", "batchSize"}


def test_compilation_that_is_declared_is_switched_off_in_words():
    assert settings_of(eager(), compiles=True)["pt2.compile.enable"] is False


def test_another_device_is_said():
    assert settings_of(eager(), own_device="cuda")["deviceType"] == "cpu"


@pytest.mark.parametrize("word", formats())
def test_each_format_is_one_that_the_config_takes(word):
    values = nested(settings_of(eager(precision=word, compiled=True), own_device="cuda"))
    assert check_values(values, "a candidate") == [] or all(not each.is_error for each in check_values(values, "it"))


def test_the_servers_command_line_reads_back_the_same_values():
    values = {"precision": {"dtype": "bf16", "keep": {"head.*": "fp32"}}, "pt2": {"compile": {"enable": True}}}
    assert overrides({}, tuple(words_of(values))) == values


def test_more_at_a_time_than_the_queue_holds_get_room():
    assert room(128, own=100) == {"jobQueueSize": 128}
    assert room(100, own=100) == {}


def test_a_search_for_the_best_level_may_go_far_and_an_open_loop_has_no_level():
    assert Goal("throughput", 50.0).at_a_time == 512
    assert Goal("throughput", 50.0, concurrency=(4, 128, 16)).at_a_time == 128
    assert room(Goal("latency", 50.0, rate=20.0).at_a_time, own=1) == {}
