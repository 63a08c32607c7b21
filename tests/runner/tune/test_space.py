from __future__ import annotations

from runner.tune.space import Wanted, space
from tests.runner.tune.synthetic import make_space


def test_a_cpu_is_shared_by_halves_unless_the_command_line_says_otherwise():
    found = space(Wanted(), device="cpu", batch_size=8, cores=6, gpus=0)
    assert found.workers["cpu"] == found.threads["cpu"] == (1, 2, 4, 6)
    assert found.precisions["cpu"] == (None, "bf16") and found.compiled == (False, True)


def test_the_archives_own_batch_size_is_among_the_candidates():
    assert 24 in space(Wanted(), device="cpu", batch_size=24, cores=1, gpus=0).batch_sizes["cpu"]


def test_each_gpu_gets_one_or_two_processes():
    found = space(Wanted(), device="cuda", batch_size=8, cores=16, gpus=4)
    assert found.workers["cuda"] == (4, 8) and found.threads["cuda"] == (1,)


def test_what_is_named_is_all_there_is():
    found = make_space(batch_sizes=(8, 1), workers=(2,), threads=(1,), precisions=("fp32",))
    assert [each.name for each in found.candidates()] == ["cpu, fp32, 2 × 1, batch 1", "cpu, fp32, 2 × 1, batch 8"]


def test_the_simplest_changes_least_and_starts_fewest():
    found = make_space(compiled=(False, True), workers=(1, 2), threads=(1,), batch_sizes=(4, 8))
    first = min(found.candidates(), key=found.simplicity)
    last = max(found.candidates(), key=found.simplicity)
    assert first.name == "cpu, fp32, 1 × 1, batch 4"
    assert last.name == "cpu, bf16 compiled, 2 × 1, batch 8"
