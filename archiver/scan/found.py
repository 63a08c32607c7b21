"""What a scan says: one `Found` per entry that was looked at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from archiver.scan.machine import Refusal

#: Verdicts, the worst first: verdict → what it means.
VERDICTS = {
    "refused": "not on torch's list, or not to be looked into; served with --trust alone",
    "runs": "code that runs when the model is loaded or called",
    "plain": "a pickle that calls nothing but torch's list, which `torch.load` does not read",
    "safe": "`torch.load(weights_only=True)` reads it, or it is safetensors",
    "data": "nothing that runs",
}
_RANK = {verdict: place for place, verdict in enumerate(VERDICTS)}
#: Why a member is refused whose bytes are not what its archive says.
DAMAGED = "is damaged: it cannot be unpacked"
#: Refusals that a sentence names.
_SHOWN = 4
#: Between an entry and the entry inside it.
INSIDE = "!"


@dataclass(frozen=True, slots=True)
class Found:
    """One entry. `kind`: weights, pickle, code, archive or data; `globals`: what its pickles name."""

    entry: str
    kind: str
    verdict: str
    about: str = ""
    globals: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()

    @property
    def depth(self) -> int:
        """How many archives it lies in, beyond the one that was named."""
        return self.entry.count(INSIDE)

    @property
    def root(self) -> str:
        """The entry of the archive that was named, in which it lies."""
        return self.entry.partition(INSIDE)[0]

    def wants(self) -> str:
        """What is refused, in a line: `model.pt!m/data.pkl: os.system`."""
        more = f" and {len(self.refused) - _SHOWN} more" if len(self.refused) > _SHOWN else ""
        return f"{self.entry}: {', '.join(map(str, self.refused[:_SHOWN]))}{more}"

    def to_json(self) -> dict[str, Any]:
        """For `archive scan --json`."""
        refused = [{"module": each.module, "name": each.name, "why": each.why} for each in self.refused]
        plain = {"entry": self.entry, "kind": self.kind, "verdict": self.verdict, "about": self.about}
        return {**plain, "globals": list(self.globals), "refused": refused}


def worst(verdicts: Iterable[str]) -> str:
    """The verdict of something that holds all of these."""
    return min(verdicts, key=_RANK.__getitem__, default="data")


def unjudged(entry: str, kind: str, why: str) -> Found:
    """An entry that cannot be looked into."""
    return Found(entry, kind, "refused", "", (), (Refusal("", "", why),))
