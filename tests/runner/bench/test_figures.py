"""Arrays → figures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.bench.figures import cut, percentile, samples, shape, spread, summary, timeline
from runner.bench.messages import Ended

VALUES = st.lists(st.floats(0, 1e6), min_size=1, max_size=200).map(lambda each: np.sort(np.array(each)))


def taken(intended, done, outcomes, begin=0.0, end=10.0):
    arrays = [np.array(each, dtype=float) for each in (intended, intended, done)]
    return cut(*arrays, np.array(outcomes, np.int16), begin, end)


@given(VALUES, st.floats(0.001, 100))
def test_a_percentile_is_a_value_that_occurred_and_that_so_many_do_not_exceed(values, percent):
    found = percentile(values, percent)
    assert found in values
    assert (values <= found).mean() * 100 >= percent - 1e-9
    assert (values < found).mean() * 100 < percent


@given(VALUES)
def test_percentiles_rise_up_to_the_maximum(values):
    found = summary(values)
    names = ["p50", "p90", "p95", "p99", "p99.9", "max"]
    assert [found[name] for name in names] == sorted(found[name] for name in names)
    assert found["max"] == values[-1]
    assert [value for _, value in shape(values)] == sorted(value for _, value in shape(values))


def test_no_values_have_no_percentiles():
    with pytest.raises(ValueError, match="no values"):
        percentile(np.array([]), 50)
    assert summary(np.array([])) == {} and shape(np.array([])) == []


def test_the_warm_up_does_not_count():
    times = [np.array(each).tobytes() for each in ([0.5, 1.5, 2.5], [0.5, 1.5, 2.5], [0.6, 1.6, 2.6])]
    found = samples(Ended(*times, np.array([200, 200, 503], np.int16).tobytes(), begin=1.0, end=3.0, busy=0.0))
    assert found.intended.tolist() == [1.5, 2.5]
    assert found.throughput() == 0.5
    assert found.failures() == {"status 503": 1}


def test_answers_after_the_end_have_latencies_but_are_no_throughput():
    found = taken([1.0, 9.9], [1.1, 10.4], [200, 200])
    assert found.throughput() == 0.1
    assert found.milliseconds().round(6).tolist() == [100.0, 500.0]


def test_the_server_s_work_does_not_begin_with_ours():
    found = taken([-3.0, 1.0, 8.0], [4.0, 9.0, 15.0], [200, 200, 200])
    assert found.throughput() == 0.2, "sent before and answered within counts; answered after the end does not"
    assert found.intended.tolist() == [1.0, 8.0]


def test_quick_refusals_do_not_make_latencies_look_better():
    found = taken([0.0, 0.0, 0.0], [1.0, 0.001, 5.0], [200, 503, -5])
    assert found.milliseconds().tolist() == [1000.0, 5000.0]


def test_a_timeline_has_every_answer_in_one_slice():
    found = taken(np.linspace(0, 9.9, 100), np.linspace(0.05, 9.95, 100), [200] * 99 + [500])
    moments = timeline(found, slices=20)
    assert sum(each.throughput * 0.5 for each in moments) == pytest.approx(99)
    assert sum(each.failed for each in moments) == 1
    assert [each.at for each in moments][:3] == [0.0, 0.5, 1.0]


def test_a_spread_is_the_median_between_the_extremes():
    assert spread([3.0, 1.0, 2.0]).median == 2.0
    assert (spread([3.0, 1.0, 2.0]).low, spread([3.0, 1.0, 2.0]).high) == (1.0, 3.0)
