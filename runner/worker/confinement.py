"""What a worker gives up before any code of its model runs: memory and descriptors beyond a limit, and in a sandbox
every file that it does not need, TCP, and signals to others.

Rules of the room
1. What was asked for holds, or the worker does not load. `Confined` says what holds.
2. Landlock holds the thread that asks for it and what that starts, so this runs while the worker has one thread.
3. A sandboxed worker writes its temporary folder and the compiled code of its own archive, nothing that another
   model reads.
"""

from __future__ import annotations

import os
import re
import resource
import sys
import sysconfig
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runner import landlock, wire
from runner.handlers.errors import CannotLoad
from runner.worker.privileges import drop_capabilities

#: What programs and libraries of a system lie in, and what those ask of it. Nothing below /etc by itself: keys and
#: passwords lie there, too.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/proc", "/sys", "/nix/store")
_SETTINGS = tuple(
    f"/etc/{name}"
    for name in (
        *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "timezone", "alternatives", "mime.types"),
        *("passwd", "group", "nsswitch.conf", "hosts", "host.conf", "resolv.conf", "ssl/certs", "ssl/openssl.cnf"),
        *("ca-certificates", "pki/tls/certs", "fonts", "magic", "OpenCL", "vulkan", "glvnd"),
    )
)
#: Folders that the operator has named for libraries.
_NAMED = ("LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH", "ROCM_PATH")
_DEVICES = ("null", "zero", "full", "random", "urandom", "dri", "kfd")
_ACCELERATORS = "nvidia*"


class TooLittleMemory(CannotLoad):
    """The limit leaves none for a model."""


@dataclass(frozen=True, slots=True)
class Confined:
    """What holds. `memory` in bytes and `files`: 0 for no limit; `sandbox`: in words, "" for none; `temporary`: the
    folder that it may fill."""

    memory: int = 0
    files: int = 0
    sandbox: str = ""
    temporary: str = ""

    def report(self) -> dict[str, Any]:
        """Plain values for `describe`; `lines` for the log."""
        words = [
            *([f"{self.memory / 1e9:g} GB of memory"] if self.memory else []),
            *([f"{self.files} descriptors"] if self.files else []),
            *([f"sandbox ({self.sandbox})"] if self.sandbox else []),
        ]
        return {**asdict(self), "lines": [f"each worker is held to {', '.join(words)}"] if words else []}


def confine(load: wire.Load) -> Confined:
    """Give up what the order says. Raises TooLittleMemory and OSError."""
    wanted = load.confinement
    if wanted.files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted.files, wanted.files))
    if wanted.memory:
        _limit_memory(wanted.memory)
    if not wanted.sandbox:
        return Confined(wanted.memory, wanted.files)
    temporary = _own_folder(Path(wanted.scratch))
    return Confined(wanted.memory, wanted.files, _enter_sandbox(load, temporary).words, str(temporary))


def _limit_memory(limit: int) -> None:
    """Of memory that is the process's own (RLIMIT_DATA): libraries and files that are only read do not count, nor
    does the address space that a CUDA driver reserves, so a limit can be what a person means by it."""
    used = _own_memory()
    if used >= limit:
        raise TooLittleMemory(
            f"--worker-memory is {limit / 1e9:g} GB, but a worker has {used / 1e9:.2f} GB before it loads anything"
        )
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _own_memory() -> int:
    """Bytes as the kernel counts them for RLIMIT_DATA; 0 where it does not tell."""
    try:
        told = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    found = re.search(r"^VmData:\s+(\d+) kB", told, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _own_folder(scratch: Path) -> Path:
    """The worker's temporary folder; the front end removes it by the worker's pid."""
    folder = scratch / str(os.getpid())
    folder.mkdir(mode=0o700)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    return folder


def _enter_sandbox(load: wire.Load, temporary: Path) -> landlock.Held:
    if threads := _other_threads():
        raise RuntimeError(f"this is a bug: {threads} other threads would stay outside of the sandbox")
    readable = [*_python(), *map(Path, (*_SYSTEM, *_SETTINGS, load.model_dir, *load.confinement.readable)), *_named()]
    devices = [*(Path("/dev", name) for name in _DEVICES), *Path("/dev").glob(_ACCELERATORS)]
    rules = [
        (landlock.READ, readable),
        (landlock.USE_DEVICE, devices),
        # POSIX shared memory and semaphores, without which there is no multiprocessing.
        (landlock.FILL, [Path("/dev/shm")]),  # noqa: S108
        (landlock.OWN, [temporary]),
    ]
    if load.compile_cache is not None:
        compiled = Path(load.compile_cache)
        compiled.mkdir(parents=True, mode=0o700, exist_ok=True)
        rules.append((landlock.FILL, [compiled]))
    held = landlock.restrict(rules)
    drop_capabilities()
    return held


def _other_threads() -> int:
    return len(os.listdir("/proc/self/task")) - 1  # noqa: PTH208  names are all that is wanted


def _python() -> list[Path]:
    """The interpreter and everything that may be imported. The working directory is not."""
    prefixes = (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)
    return [Path(path) for path in dict.fromkeys([*prefixes, *sysconfig.get_paths().values(), *sys.path]) if path]


def _named() -> list[Path]:
    values = (os.environ.get(name, "") for name in _NAMED)
    return [Path(path) for value in values for path in value.split(os.pathsep) if path]
