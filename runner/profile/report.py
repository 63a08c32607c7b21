"""What a profile found, as it stands in `profile.json`."""

from __future__ import annotations

from typing import Any

import msgspec

from runner.bench.figures import Spread
from runner.profile.figures import Figures

FORMAT = 1
#: Changes that are shown.
MOST = 3


class Tried(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A change. `gain`: how many times the rows a second, measured against the model as it is, both in turn; None for
    what was not measured. `bound`: what it could bring at most, from the profile alone. `refused`: why it is not for
    this model."""

    name: str
    why: str
    yaml: str
    bound: float | None
    gain: Spread | None = None
    batch_ms: float | None = None
    refused: str | None = None

    @property
    def helps(self) -> bool:
        """Measured, and faster in every round."""
        return self.gain is not None and self.gain.median >= _LEAST and self.gain.low > 1

    @property
    def is_open(self) -> bool:
        """Not measured: no setting, or nobody tried."""
        return self.gain is None and self.refused is None


_LEAST = 1.05


class Profile(msgspec.Struct, rename="camel", kw_only=True):
    """All of it. `stopped`: why it ended before its time."""

    format: int = FORMAT
    made: str
    tool: str
    machine: dict[str, Any]
    model: dict[str, Any]
    input: str
    figures: Figures
    tried: list[Tried] = []
    together: Tried | None = None
    notes: list[str] = []
    stopped: str | None = None

    @property
    def promising(self) -> list[Tried]:
        """What helped, the best first; then what was not measured."""
        helped = sorted((each for each in self.tried if each.helps), key=_gain, reverse=True)
        unmeasured = sorted((each for each in self.tried if each.is_open), key=_bound, reverse=True)
        return [*helped, *unmeasured][:MOST]

    @property
    def useless(self) -> list[Tried]:
        """What was measured and did not help, or is not for this model."""
        return [each for each in self.tried if not each.helps and not each.is_open]


def _gain(tried: Tried) -> float:
    return tried.gain.median if tried.gain is not None else 0.0


def _bound(tried: Tried) -> float:
    return tried.bound or 0.0
