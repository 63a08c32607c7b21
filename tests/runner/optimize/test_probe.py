"""Foreign code is tried in a child first: whatever happens to it, this process goes on and says what happened."""

from __future__ import annotations

import os
import signal
import time

import pytest
import torch

from runner.optimize import probe as probing
from runner.optimize.edge import Call
from runner.optimize.package import write_sample
from runner.optimize.probe import probe
from tests.runner.optimize.models import CPU


def outcome(monkeypatch, tried):
    monkeypatch.setattr(probing, "_compared", lambda folder, device: tried())
    return probe("package", CPU)


def test_code_that_answers_its_sample_may_be_used(monkeypatch):
    assert outcome(monkeypatch, lambda: None) is None


def test_code_for_another_processor_kills_only_the_child(monkeypatch):
    said = outcome(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert said == "running it killed the process that tried (SIGKILL)"


def test_an_exception_in_the_child_is_told(monkeypatch):
    assert outcome(monkeypatch, lambda: 1 / 0) == "ZeroDivisionError: division by zero"


def test_a_child_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(probing, "_SECONDS", 0.05)
    assert "did not answer its sample" in outcome(monkeypatch, lambda: time.sleep(600))


@pytest.mark.parametrize(("answer", "said"), [(lambda x: x * 2, None), (lambda x: -x, "cosine -1")])
def test_the_answers_are_compared_with_those_that_were_packed(tmp_path, monkeypatch, answer, said):
    write_sample(tmp_path, lambda x: x * 2, Call(((torch.arange(6.0),), {}), None, 0.0))
    monkeypatch.setattr(probing, "load", lambda folder, sample, device: lambda x: (answer(x),))
    found = probe(tmp_path, CPU)
    assert found is None if said is None else said in found


def test_a_gpu_reports_foreign_code_by_itself():
    assert probe("package", torch.device("cuda:0")) is None
