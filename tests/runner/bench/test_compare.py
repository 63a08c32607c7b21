"""Two reports side by side."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from archiver.cli import main
from runner.bench.compare import chance, differences, unlike
from runner.bench.files import write
from tests.runner.bench.reports import Made, make_report

ROUNDS = st.lists(st.floats(1, 1000), min_size=1, max_size=5)
FAST, SLOW = Made((200.0, 201.0, 202.0)), Made((150.0, 151.0, 152.0))


@given(ROUNDS, ROUNDS)
def test_the_chance_is_a_share_and_the_same_from_either_side(one, other):
    assert 0 < chance(one, other) <= 1
    assert chance(one, other) == pytest.approx(chance(other, one))


@given(ROUNDS)
def test_equal_rounds_differ_by_chance(rounds):
    assert chance(rounds, rounds) == 1.0


def test_three_rounds_against_three_are_sure_when_they_do_not_overlap():
    assert chance([1.0, 2.0, 3.0], [11.0, 12.0, 13.0]) == 0.1
    assert chance([1.0, 12.0, 3.0], [11.0, 2.0, 13.0]) > 0.1


def test_many_rounds_are_shuffled_the_same_way_every_time():
    one, other = [float(n) for n in range(20)], [float(n) for n in range(10, 30)]
    assert chance(one, other) == chance(one, other) < 0.01


def test_a_loss_beyond_the_tolerance_counts_when_the_rounds_are_sure_of_it():
    loss, *latencies = differences(make_report(FAST), make_report(SLOW))
    assert (loss.figure, loss.before, loss.after, round(loss.worse, 3)) == ("requests/s", 201.0, 151.0, 0.249)
    assert loss.is_beyond(0.05) and not loss.is_beyond(0.3)
    assert not any(each.is_beyond(0.05) for each in latencies)


def test_a_gain_is_no_loss_and_a_higher_latency_is_one():
    assert not any(each.is_beyond(0.0) for each in differences(make_report(SLOW), make_report(FAST)))
    (loss,) = [
        each
        for each in differences(make_report(Made((1.0,) * 3, p99=9.0)), make_report(Made((1.0,) * 3, p99=12.0)))
        if each.is_beyond(0.05)
    ]
    assert (loss.figure, round(loss.worse, 2)) == ("p99", 0.33)


def test_rounds_that_differ_as_much_among_themselves_prove_nothing():
    noisy = make_report(Made((100.0, 210.0, 190.0)))
    assert not any(each.is_beyond(0.05) for each in differences(make_report(Made((205.0, 150.0, 220.0))), noisy))


def test_with_too_few_rounds_the_tolerance_decides():
    found, *_ = differences(make_report(Made((200.0,))), make_report(Made((150.0,))))
    assert found.is_beyond(0.05) and not found.is_sure and not found.can_be_sure


def test_failures_that_came_count():
    bad = make_report(Made((200.0, 201.0, 202.0), failures=(("status 503", 10),)))
    (loss,) = [each for each in differences(make_report(FAST), bad) if each.is_beyond(0.05)]
    assert (loss.figure, loss.before, loss.after) == ("failed", 0.0, 0.01)


def test_what_makes_two_reports_unlike_is_said():
    other = make_report(FAST, Made((1.0,), None, 5.0), machine={"processor": "GPU", "cores": 8, "loadAverage": 0.0})
    assert list(unlike(make_report(FAST), other)) == ["processor: CPU before, GPU after", "only in one of them: 5/s"]


def compare(folder, before, after, *more):
    write(before, folder / "a")
    write(after, folder / "b")
    return CliRunner().invoke(main, ["bench", "--compare", str(folder / "a"), str(folder / "b"), *more])


def test_the_command_ends_with_1_when_the_second_is_worse(tmp_path):
    done = compare(tmp_path, make_report(FAST), make_report(SLOW))
    assert done.exit_code == 1
    assert "16 at a time requests/s 201 151 -24.9% worse" in [
        " ".join(line.split()) for line in done.output.split("\n")
    ]
    assert compare(tmp_path, make_report(FAST), make_report(SLOW), "--tolerance", "0.3").exit_code == 0
    assert compare(tmp_path, make_report(SLOW), make_report(FAST)).exit_code == 0


def test_reports_without_a_load_in_common_cannot_be_compared(tmp_path):
    done = compare(tmp_path, make_report(FAST), make_report(Made((1.0,), concurrency=3)))
    assert done.exit_code == 1
    assert done.stderr.endswith("have no load in common\n")
