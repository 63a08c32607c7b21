"""Arrivals of an open loop."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runner.bench.schedule import poisson

RATES = st.floats(0.5, 2000)
SECONDS = st.floats(0.1, 5)


@given(RATES, SECONDS, st.integers(0, 1000))
def test_arrivals_rise_and_lie_within_the_round(rate, seconds, seed):
    times = poisson(rate, seconds, seed)
    assert (np.diff(times) >= 0).all()
    assert ((times >= 0) & (times < seconds)).all()


@given(RATES, SECONDS, st.integers(0, 1000))
def test_the_same_seed_gives_the_same_arrivals(rate, seconds, seed):
    assert (poisson(rate, seconds, seed) == poisson(rate, seconds, seed)).all()


def test_as_many_as_the_rate_says_with_the_spread_of_clients_who_know_nothing_of_each_other():
    times = poisson(1000, 100, seed=1)
    gaps = np.diff(times)
    assert abs(len(times) - 100_000) < 5 * 100_000**0.5
    assert abs(gaps.std() / gaps.mean() - 1) < 0.02
