"""A new archive with the chosen settings in its config. The original is read, never written."""

from __future__ import annotations

import tempfile
from pathlib import Path

from archiver.progress import Progress
from archiver.repack import repack
from archiver.store import Unpacked
from runner.offline.reconfigured import child_of, own_members, with_config
from runner.offline.settings import CONFIG


def write(opened: Unpacked, source: Path, target: Path, config: str, progress: Progress) -> bool:
    """Pack it; whether compiled code was left out, which was made for other settings. Raises CannotWrite."""
    with tempfile.TemporaryDirectory(prefix="archive-tune-") as folder:
        file = Path(folder) / (opened.manifest.config_file or CONFIG)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(config, encoding="utf-8")
        members, manifest = with_config(own_members(opened), child_of(opened, source), Path(folder), file)
        repack(target, members, manifest, progress)
    return bool(opened.manifest.precompiled)
