"""When the requests of an open loop are meant to be sent."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def poisson(rate: float, seconds: float, seed: int) -> npt.NDArray[np.float64]:
    """Seconds from the start, rising, of arrivals of many clients who know nothing of each other: `rate` a second on
    average, gaps exponentially distributed."""
    generator = np.random.default_rng(seed)
    expected = rate * seconds
    times: npt.NDArray[np.float64] = np.empty(0)
    last = 0.0
    while last < seconds:
        gaps = generator.exponential(1 / rate, size=int(expected + 4 * expected**0.5) + 16)
        times = np.concatenate([times, last + np.cumsum(gaps)])
        last = float(times[-1])
    return times[times < seconds]
