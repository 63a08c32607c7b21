"""`import ts…` inside a worker resolves to `runner/compat/ts`, with torchserve installed or not.

Rules of the room
1. Installed by a session and by nobody else: other processes keep the real package.
2. Files under `ts/` are imported under their TorchServe names only, never as `runner.compat.ts…`: a class would
   exist twice. Inside they import from `runner.handlers`, where everything that both worlds share lives.
3. A name that is not there is refused with what to do instead; the real package is never mixed in.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

from runner.compat.refusals import refusal

_HOME = Path(__file__).resolve().parent / "ts"


class TorchServeNames(MetaPathFinder):
    """Finds `ts` and everything below it in `runner/compat/ts`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "ts":
            return spec_from_file_location("ts", _HOME / "__init__.py", submodule_search_locations=[str(_HOME)])
        if not fullname.startswith("ts."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None:
            raise ModuleNotFoundError(refusal(fullname), name=fullname)
        return spec


def install() -> None:
    """Make `ts` ours in this process. Called again it does nothing."""
    if any(isinstance(finder, TorchServeNames) for finder in sys.meta_path):
        return
    # The real package may have come in through a preload; its modules must not answer for ours.
    for name in [name for name in sys.modules if name == "ts" or name.startswith("ts.")]:
        del sys.modules[name]
    sys.meta_path.insert(0, TorchServeNames())
