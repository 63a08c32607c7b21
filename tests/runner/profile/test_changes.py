"""Figures and config → what is worth trying."""

from __future__ import annotations

import pytest

from runner.profile.changes import Situation, together, worth_trying
from tests.runner.configs import make_config
from tests.runner.profile.made import made, padded


def situation(kind="cpu", workers=1, threads=1, cores=1, **config):
    return Situation(make_config(**config), kind, workers, threads, cores)


def changes(figures=None, **here):
    return {each.name: each for each in worth_trying(figures or made(), situation(**here))}


def test_bf16_is_tried_where_matrix_products_take_the_time_and_bound_by_their_share():
    change = changes()["bf16"]
    assert change.yaml == "precision: bf16" and change.steps == ("precision",)
    assert change.bound == pytest.approx(1 / 0.4) and "60% of a batch are matrix products" in change.why


@pytest.mark.parametrize(
    "here", [{"precision": {"dtype": "bf16"}}, {"precision": {"dtype": "auto"}}, {"kind": "mps"}]
)
def test_bf16_is_not_tried_where_it_is_declared_or_cannot_be(here):
    assert "bf16" not in changes(**here)


def test_compiling_is_tried_until_it_is_declared():
    assert "compile" in changes()
    assert "compile" in changes(pt2={"compile": {"enable": False, "backend": "inductor"}})
    assert "compile" not in changes(pt2={"compile": {"enable": True, "backend": "inductor"}})


def test_int8_comes_with_compilation_and_for_cpus_alone():
    assert changes()["int8"].steps == ("quantization", "compile")
    assert "int8" not in changes(kind="cuda")
    assert "int8" not in changes(quantization={"scheme": "int8-dynamic"})


def test_padding_calls_for_smaller_batches_not_larger_ones():
    found = changes(made(**padded(100, 60, came=2.0, without=1.0)))
    assert found["smaller batches"].batch == 2 and "60% of the tokens" in found["smaller batches"].why
    assert "larger batches" not in found
    assert changes()["larger batches"].settings == {"batchSize": 32}


def test_calls_that_eager_answers_call_for_dynamic_shapes():
    compiled = {"pt2": {"compile": {"enable": True, "backend": "inductor"}}}
    found = changes(made(unfit=1), **compiled)["dynamic shapes"]
    assert found.bound == pytest.approx(1 / 0.6) and "1 of 2 batches" in found.why
    assert "dynamic shapes" not in changes(made(), **compiled)


def test_idle_cores_call_for_workers():
    change = changes(threads=2, cores=2)["a worker per core"]
    assert change.processes == 2 and change.settings["threads"] == {"intraOp": 1}
    assert "a worker per core" not in changes(workers=2, cores=2)
    assert "a worker per core" not in changes(cores=2, kind="cuda")


def test_the_handlers_own_code_has_no_setting_and_says_which_stage():
    slow = made(milliseconds={"batch": 2.0, "preprocess": 1.2, "inference": 0.7, "forward": 0.6})
    change = changes(slow)["the handler's code"]
    assert not change.settings and "most of it preprocess" in change.why and change.bound == pytest.approx(1 / 0.3)


def test_changes_together_are_one_where_the_first_counts():
    found = changes(threads=2, cores=2)
    both = together([found["one thread"], found["larger batches"], found["a worker per core"]])
    assert both.settings == {"batchSize": 32, "minWorkers": 2, "maxWorkers": 2, "threads": {"intraOp": 1}}
    assert (both.batch, both.processes) == (32, 2)
