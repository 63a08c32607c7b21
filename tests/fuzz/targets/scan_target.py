"""What runs code when it is opened. Against a real unpickler that imports nothing: what the scan does not refuse asks
for no global that the scan has not named."""

from __future__ import annotations

import contextlib
import io
import pickle
import tempfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from pathlib import Path
from typing import Any

from archiver.errors import ArchiveError
from archiver.scan.scan import scan

_FILE = Path(tempfile.mkdtemp(prefix="fuzz-")) / "input.pkl"


class Unseen(BaseException):
    """A global that the scan has not named."""


class Inert:
    """In place of whatever a pickle asks for."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __call__(self, *_: Any, **__: Any) -> Inert:
        return self


class Watched(pickle._Unpickler):  # type: ignore[name-defined]  # in Python: a number is no size of an array there
    """Runs a pickle's instructions; `known`: the globals that it may ask for."""

    def __init__(self, data: bytes, known: set[str]) -> None:
        self._stream = io.BytesIO(data)
        super().__init__(self._stream)
        self._known = known

    def find_class(self, module: str, name: str) -> Any:
        # Python 2's names are Python 3's in old protocols, for torch and the scan alike.
        today = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        is_cut_off = self._stream.tell() == len(self._stream.getbuffer())  # nothing is left that could call it
        if not is_cut_off and not {f"{module}.{name}", ".".join(today)} & self._known:
            raise Unseen(f"{module}.{name}")
        return Inert

    def persistent_load(self, _: Any) -> Any:
        return Inert()


def one(data: bytes) -> None:
    _FILE.write_bytes(data)
    try:
        report = scan(_FILE)
    except ArchiveError as error:
        assert str(error)
        return
    for each in report.found:
        each.to_json()
    if any(each.refused for each in report.found):
        assert report.verdict == "refused" and all(each.wants() for each in report.refused)
        return
    known = {name for each in report.found for name in each.globals}
    with contextlib.suppress(Exception):
        Watched(data, known).load()
