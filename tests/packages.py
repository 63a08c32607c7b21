"""Packages for pip, made by hand: nothing here needs a network or a build tool."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

_BACKEND = """
import os, signal
def build_wheel(*_):
    with open({fifo!r}, "w") as told:
        told.write(str(os.getpid()))
    while True:
        signal.pause()
"""


def make_wheel(folder: Path, name: str = "gift", version: str = "1.0", module: str = "VALUE = 41\n") -> Path:
    """A wheel with one module of the distribution's name."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", module)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def make_endless(folder: Path, fifo: Path) -> Path:
    """Sources of a package whose build never ends. The builder tells its pid through the FIFO: who reads it waits for
    the build."""
    folder.mkdir(parents=True)
    os.mkfifo(fifo)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "endless"\nbackend-path = ["."]\n'
        '[project]\nname = "endless"\nversion = "1.0"\n'
    )
    (folder / "endless.py").write_text(_BACKEND.format(fifo=str(fifo)))
    return fifo
