"""When a dead worker may come back.

The first death is repaired at once. A worker that dies again before it has served waits longer each time
(TorchServe's Fibonacci steps, https://github.com/pytorch/serve/blob/master/docs/management_api.md), and after
`give_up_after` seconds of failing in a row the model is given up, aloud.
"""

from __future__ import annotations

_STEPS = (0.0, 1.0, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 30.0)


class Backoff:
    """Restart delays of one model version's workers."""

    def __init__(self, give_up_after: float) -> None:
        self.give_up_after = give_up_after
        self._failures = 0
        self._since: float | None = None

    @property
    def failures(self) -> int:
        """Deaths in a row without a batch served in between."""
        return self._failures

    def died(self, now: float) -> float | None:
        """Seconds to wait before the next start; None = give up."""
        if self._since is None:
            self._since = now
        if now - self._since > self.give_up_after:
            return None
        delay = _STEPS[min(self._failures, len(_STEPS) - 1)]
        self._failures += 1
        return delay

    def served(self) -> None:
        """A worker has answered a batch: forget earlier failures."""
        self._failures = 0
        self._since = None
