"""Environments for the requirements of archives: virtual ones over the server's own packages, each made once.

Rules of the room
1. Installing runs code of strangers and reaches the network. Whoever makes an `Environments` says that the operator
   allows it.
2. What the server has and the requirements accept is used as it is; the rest goes into the environment, where it
   hides the server's. So the key is the requirements and everything that the server has.
3. An environment is whole or it is not there. The seal is written last, and pip holds the lock as well: where a
   server is killed, the next one makes the environment anew when that pip has ended.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import platform
import shutil
import site
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

from archiver import shelf
from archiver.environments import LOG, MAX_ENVIRONMENTS, installed, lease, prune_environments
from archiver.errors import ServeFailed
from archiver.requirements import leans_on_files
from archiver.store import Lease
from runner.pool.installing import Installing

log = logging.getLogger("archive.server")

#: Seconds for one command; pip gives up an address that does not answer much earlier.
_LONGEST = 1800.0
#: Seconds between looks at a lock that another process holds: the kernel tells nobody when it is free.
_PAUSE = 0.1
_LAST_LINES = 12
#: Of what is written into a folder; counts up when it changes.
_LAYOUT = 1
#: pip's, from the environment: they would lead it elsewhere.
_MISLEADING = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_DRY_RUN")
_PIP = "-m pip install --no-input --disable-pip-version-check --no-color --progress-bar off --no-warn-script-location"


class RequirementsFailed(ServeFailed):
    """An archive's requirements cannot be installed."""

    code = "serve/requirements"


class Stopping(ServeFailed):
    """The server stops, so the installation was given up."""

    def __init__(self) -> None:
        super().__init__("the server is stopping")


@dataclass(frozen=True, slots=True)
class Requirements:
    """What an archive asks for: the `file` in its model folder. `model`: for messages; `digest`: of its content."""

    model: str
    file: Path
    folder: Path
    digest: str


@dataclass(frozen=True, slots=True)
class Environment:
    """A whole one, kept from being pruned while the `lease` lasts. `installed`: name==version."""

    path: Path
    installed: tuple[str, ...]
    lease: Lease

    @property
    def python(self) -> str:
        return str(_python(self.path))

    def variables(self, base: Mapping[str, str]) -> dict[str, str]:
        """Those of processes that run in it. The server's own packages come after its, so not from PYTHONPATH."""
        servers = {os.path.realpath(folder) for folder in _server_folders()}
        paths = base.get("PYTHONPATH", "").split(os.pathsep)
        kept = [path for path in paths if os.path.realpath(path) not in servers]
        programs = [str(self.path / "bin"), *filter(None, [base.get("PATH")])]
        return {
            **base,
            "PYTHONPATH": os.pathsep.join(kept),
            "PATH": os.pathsep.join(programs),
            "VIRTUAL_ENV": str(self.path),
        }


class Environments:
    """Those below `root`. `variables`: the environment variables that installers see."""

    def __init__(self, root: Path, variables: Mapping[str, str]) -> None:
        self._root = root.absolute()
        kept = {name: value for name, value in variables.items() if name not in _MISLEADING}
        self._variables = {**kept, "PIP_USER": "0"}
        self._running: set[Installing] = set()
        self._stopping = False

    async def of(self, wanted: Requirements) -> Environment:
        """The environment, made unless it is there. Raises RequirementsFailed and Stopping."""
        try:
            text = wanted.file.read_text("utf-8", "replace")
            folder = self._root / _key(text, wanted)
            while True:
                shared = await self._locked(folder, wanted, alone=False)
                if _is_whole(folder):
                    os.utime(shelf.beside(folder, ".json"))
                    return Environment(folder, installed(shelf.fields(folder)), shared)
                shared.release()
                await self._make_unless_made(folder, wanted)
        except OSError as error:
            raise _failed(wanted, f"{error.strerror or error}: {error.filename or wanted.file}") from error

    def stop(self) -> None:
        """The server stops: what is being installed is given up."""
        self._stopping = True
        for command in self._running:
            command.kill()

    async def _locked(self, folder: Path, wanted: Requirements, *, alone: bool) -> Lease:
        """The lock, when it can be had. Raises RequirementsFailed when it never can."""
        if (found := lease(folder, alone=alone)) is not None:
            return found
        log.info("%s: its environment is being made; waiting for that", wanted.model)
        until = time.monotonic() + _LONGEST
        while time.monotonic() < until and not self._stopping:
            if (found := lease(folder, alone=alone)) is not None:
                return found
            await asyncio.sleep(_PAUSE)
        if self._stopping:
            raise Stopping
        raise _failed(wanted, f"another process has held {folder}.lock for {_LONGEST:g} s")

    async def _make_unless_made(self, folder: Path, wanted: Requirements) -> None:
        held = await self._locked(folder, wanted, alone=True)
        try:
            if not _is_whole(folder):
                await asyncio.to_thread(prune_environments, self._root, MAX_ENVIRONMENTS)
                await self._make(folder, wanted, held)
        finally:
            held.release()

    async def _make(self, folder: Path, wanted: Requirements, held: Lease) -> None:
        log.info("%s: installing %s into %s", wanted.model, wanted.file.name, folder)
        started = time.monotonic()
        await asyncio.to_thread(shelf.clear, folder, (LOG,))
        try:
            with shelf.beside(folder, LOG).open("w", encoding="utf-8") as said:
                await self._fill(folder, wanted, held, said)
            packages = _packages(folder)
            _seal(folder, packages, time.monotonic() - started)
        except BaseException:
            await asyncio.to_thread(shelf.clear, folder, ())
            raise
        seconds = time.monotonic() - started
        log.info("%s: installed in %.1f s: %s", wanted.model, seconds, ", ".join(packages) or "nothing was missing")

    async def _fill(self, folder: Path, wanted: Requirements, held: Lease, said: TextIO) -> None:
        async def run(*command: str, **more: str) -> None:
            await self._run(command, {**self._variables, **more}, wanted, held, said)

        await run(sys.executable, "-I", "-m", "venv", "--without-pip", str(folder))
        _show_servers_packages(folder)
        scratch = folder / "tmp"  # an installer that is killed leaves nothing elsewhere
        scratch.mkdir()
        python = (str(_python(folder)), "-I")
        if find_spec("pip") is None:
            await run(*python, "-m", "ensurepip")
        await run(*python, *_PIP.split(), "-r", str(wanted.file), TMPDIR=str(scratch))
        await asyncio.to_thread(shutil.rmtree, scratch)

    async def _run(
        self, command: Sequence[str], variables: Mapping[str, str], wanted: Requirements, held: Lease, said: TextIO
    ) -> None:
        last: deque[str] = deque(maxlen=_LAST_LINES)
        tool = command[command.index("-m") + 1]

        def heard(line: str) -> None:
            last.append(line)
            said.write(f"{line}\n")
            level = logging.DEBUG if line.startswith("Requirement already satisfied") else logging.INFO
            log.log(level, "%s: %s: %s", wanted.model, tool, line)

        running = await Installing.start(command, wanted.folder, variables, held.fileno(), heard)
        self._running.add(running)
        if self._stopping:
            running.kill()
        try:
            status = await running.ended(_LONGEST)
        except asyncio.TimeoutError as error:
            raise _failed(wanted, f"{tool} took longer than {_LONGEST:g} s", last, said.name) from error
        finally:
            self._running.discard(running)
        if self._stopping:
            raise Stopping
        if status:
            raise _failed(wanted, f"{tool} ended with status {status}", last, said.name)


def _failed(
    wanted: Requirements, reason: str, lines: Sequence[str] = (), said: str | None = None
) -> RequirementsFailed:
    what = f"model `{wanted.model}`: its {wanted.file.name} cannot be installed: {reason}"
    return RequirementsFailed("\n  ".join([what, *lines]), hint=f"all that pip said is in {said}" if said else None)


def _server_folders() -> list[str]:
    """Where this server's packages are."""
    users = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return [folder for folder in [*users, *site.getsitepackages()] if Path(folder).is_dir()]


def _key(text: str, wanted: Requirements) -> str:
    """The folder's name: a hash of all that decides what pip installs, but for what the index has by then."""
    folders = _server_folders()
    facts = {
        "layout": _LAYOUT,
        "requirements": text,
        "archive": wanted.digest if leans_on_files(text) else "",
        "python": [sys.version, sys.base_prefix, platform.machine()],
        "folders": folders,
        "packages": sorted(path.name for folder in folders for path in Path(folder).glob("*.*-info")),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _is_whole(folder: Path) -> bool:
    """Whether it is sealed, and the Python that it was made with still there."""
    return bool(shelf.fields(folder)) and _python(folder).exists()


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _packages_folder(folder: Path) -> Path:
    """site-packages of the environment: there is one."""
    return next(folder.glob("lib/python*/site-packages"))


def _show_servers_packages(folder: Path) -> None:
    """Behind its own, with the .pth files in them. The last name in the folder, so that it is read last."""
    lines = [f"import site; site.addsitedir({path!r})\n" for path in _server_folders()]
    (_packages_folder(folder) / "~server.pth").write_text("".join(lines), "utf-8")


def _packages(folder: Path) -> list[str]:
    """name==version of the environment's own packages."""
    found = metadata.distributions(path=[str(_packages_folder(folder))])
    return sorted(f"{each.metadata['Name']}=={each.version}" for each in found)


def _seal(folder: Path, packages: list[str], seconds: float) -> None:
    """Say that it is whole."""
    fields = {"installed": packages, "python": platform.python_version(), "seconds": round(seconds, 1)}
    draft = folder / "seal.json"
    draft.write_text(json.dumps(fields, indent=2))
    draft.replace(shelf.beside(folder, ".json"))
