"""A change is measured on the real model, or refused with what the pipeline says."""

from __future__ import annotations

import pytest

from archiver.store import unpack
from runner.profile.changes import Change
from runner.profile.trying import Subject, tried
from tests.runner.isolation import process_given_back
from tests.runner.profile.models import tokens_model


def change(name, settings, batch=4, steps=(), processes=1):
    return Change(name, "why", None, batch, settings, steps=steps, processes=processes)


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    folder = tmp_path_factory.mktemp("subject")
    with process_given_back(folder):
        opened = unpack(tokens_model(folder / "m"))
        sample = folder / "input"
        sample.write_text("[1, 2, 3]")
        yield Subject(opened, None, {}, [(sample, "application/json")], trusted=False)


@pytest.fixture(scope="module")
def model(subject):
    with subject.loaded({}) as loaded:
        yield loaded


def test_a_change_is_measured_against_the_model_over_the_same_rows(subject, model):
    found = tried(change("larger batches", {"batchSize": 16}, batch=16), subject, model, batch=4, ms=100.0)
    assert found.refused is None and found.batch_ms is not None
    assert 0 < found.gain.low <= found.gain.median <= found.gain.high


def test_a_step_that_the_pipeline_does_not_apply_is_refused_with_its_reason(subject, model):
    compiled = change("compile", {"pt2": {"compile": {"enable": True, "backend": "inductor"}}}, steps=("compile",))
    found = tried(compiled, subject, model, batch=4, ms=100.0)
    assert found.gain is None and found.refused == "not exercised: declare warmup.input"


def test_a_change_without_a_setting_is_not_measured(subject, model):
    found = tried(change("the handler's code", {}), subject, model, batch=4, ms=100.0)
    assert found.is_open and found.gain is None
