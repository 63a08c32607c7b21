"""What the compiler made, kept for the other workers and the next start.

Layout
    <root>/<key>/            what inductor writes: generated sources, libraries, graphs
    <root>/<key>.json        the key's plain fields, for people
    <root>/<key>.seal.json   path → size and sha256 of every file that was there when its writer was READY
    <root>/<key>.lock        held while a worker compiles or loads

Rules of the room
1. The key is everything that the code depends on. Another torch, CPU, thread count, archive or setting is another
   folder; nothing is ever converted.
2. What is loaded is native code, so a folder is used only when every file in it is as it was sealed. A damaged
   file, a stray one and a folder whose writer died half-way mean that the folder is emptied and filled again.
3. A cache can only save time. Whatever the disk says, compilation goes on without it and the report says why.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from archiver.compiled import MAX_COMPILED, prune_compiled
from archiver.config.model import ModelConfig, to_plain
from archiver.hashing import sha256_of
from runner.optimize.shipped import Shipped

_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
_SETTINGS = ("batch_size", "precision", "quantization", "memory_format", "attention")
_OF_PT2 = ("compile", "buckets")
#: Of what this package writes into a folder; counts up when it changes.
_LAYOUT = 3
_PAUSE = 0.1
_CPU = torch.device("cpu")
#: States in which nothing has to be compiled.
FOUND, SHIPPED = "found", "shipped with the archive"


def key_fields(config: ModelConfig, device: torch.device, archive: str) -> dict[str, Any]:
    """Everything that compiled code depends on, as plain values. `archive`: the digest of its content."""
    plain = to_plain(config)
    return {
        "layout": _LAYOUT,
        "torch": [str(torch.__version__), torch.version.git_version],
        "python": ".".join(platform.python_version_tuple()[:2]),
        "machine": [platform.system(), platform.machine()],
        "device": _capabilities(device),
        "archive": archive,
        "settings": {name: plain[name] for name in _SETTINGS} | {name: plain["pt2"][name] for name in _OF_PT2},
    }


def _capabilities(device: torch.device) -> Any:
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        return [torch.cuda.get_device_name(device), list(capability), torch.version.cuda]
    found = torch.cpu.get_capabilities()
    return [device.type, sorted(name for name, has in found.items() if has is True)]


def key_of(fields: Mapping[str, Any]) -> str:
    """The folder's name."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True, default=str).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class _Paths:
    folder: Path
    fields: Path
    seal: Path
    lock: Path

    @classmethod
    def of(cls, root: Path, key: str) -> _Paths:
        return cls(root / key, root / f"{key}.json", root / f"{key}.seal.json", root / f"{key}.lock")


class CompileCache:
    """One worker's use of the cache: `open` before anything is compiled, `close` when nothing will be any more.

    `state`: found, shipped with the archive, made, or why there is none. `wait`: seconds to wait for another worker
    that is filling it. `shipped`: what the archive brings, where it may be used.
    """

    def __init__(
        self,
        root: Path,
        fields: Mapping[str, Any],
        wait: float,
        shipped: Shipped | None = None,
        device: torch.device = _CPU,
    ) -> None:
        self._fields = fields
        self._wait = wait
        self._shipped = shipped
        self._device = device
        self.key = key_of(fields)
        self._paths = _Paths.of(root, self.key)
        self._lock: int | None = None
        self._handed_out: dict[str, tuple[int, int]] = {}
        self.state = "not opened"

    @property
    def folder(self) -> Path | None:
        """Where compiled code is kept; None when it is not."""
        return self._paths.folder if self._lock is not None else None

    def open(self) -> None:
        """Point the compiler at the folder. Never raises for what the disk does."""
        if _operators_own(os.environ.get(_VARIABLE)):
            self.state = f"not used: {_VARIABLE} is set"
            return
        try:
            self._lock = _locked(self._paths.lock, self._wait)
            self.state = self._prepared()
            self._share()
        except OSError as error:
            self._release()
            self.state = f"not used: {error}"
            return
        os.environ[_VARIABLE] = str(self._paths.folder)

    def close(self) -> None:
        """Seal what is there now and let the next worker have it. Never raises for what the disk does."""
        if self._lock is None:
            return
        try:
            if self._owns():
                self._seal()
                prune_compiled(self._paths.folder.parent, MAX_COMPILED)  # never this one: its lock is held
        except OSError as error:
            self.state += f"; not kept: {error}"
        finally:
            self._release()

    def _prepared(self) -> str:
        """The state in which the folder is handed out."""
        folder = self._paths.folder
        folder.mkdir(mode=0o700, exist_ok=True)
        problem = "nothing was there"
        if any(folder.iterdir()):
            if _sealed(self._paths.seal) == _digests(folder):
                return FOUND
            self._paths.seal.unlink(missing_ok=True)
            shutil.rmtree(folder)
            folder.mkdir(mode=0o700)
            problem = "what was there is not as it was left"
        if not self._shipped:
            return f"made: {problem}"
        refusal = self._shipped.put_into(folder, self.key, self._fields, self._device)
        return f"made: {refusal}" if refusal is not None else SHIPPED

    def _share(self) -> None:
        """Who only loads does not keep others waiting."""
        if self.state == SHIPPED:
            self._seal()
        if self.state in (FOUND, SHIPPED) and self._lock is not None:
            self._handed_out = _stamps(self._paths.folder)
            os.utime(self._paths.fields)  # when it was last used
            fcntl.flock(self._lock, fcntl.LOCK_SH)

    def _owns(self) -> bool:
        """Whether to seal. A folder that was found may have grown, and is sealed again when nobody else has it."""
        assert self._lock is not None, "this is a bug: closed before it was opened"
        if self.state not in (FOUND, SHIPPED):
            return True
        if _stamps(self._paths.folder) == self._handed_out:
            return False
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _seal(self) -> None:
        _write(self._paths.fields, self._fields)
        _write(self._paths.seal, _digests(self._paths.folder))

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _operators_own(folder: str | None) -> bool:
    """Whether somebody chose the folder; torch itself writes its default there as soon as it is asked for it."""
    if not folder:
        return False
    # Imported only now: the compiler takes a second, and what was compiled before needs none of it.
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    return folder != default_cache_dir()


def _locked(path: Path, wait: float) -> int:
    """A descriptor that holds the lock until it is closed or its process ends. Raises OSError."""
    path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    end = time.monotonic() + wait
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_nlink:
                return lock
        except OSError:
            if time.monotonic() > end:
                os.close(lock)
                raise
            time.sleep(_PAUSE)
        os.close(lock)  # held, or pruned since it was opened


def _stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Path → size and time of change of every file that has content: enough to see what this process has done."""
    stats = ((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    return {str(path): (stat.st_size, stat.st_mtime_ns) for path, stat in stats if stat.st_size}


def _digests(folder: Path) -> dict[str, list[Any]]:
    """Path → size and sha256 of every file that has content; locks are empty."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    return {str(path.relative_to(folder)): [path.stat().st_size, sha256_of(path)] for path in files}


def _sealed(path: Path) -> Any:
    """What the seal says; None for no seal and for a damaged one."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _write(path: Path, value: Any) -> None:
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_text(json.dumps(value, indent=1, default=str))
    new.replace(path)
