"""A new archive with the chosen settings in its config. The original is read, never written."""

from __future__ import annotations

import tempfile
from pathlib import Path

from archiver.manifest import Manifest
from archiver.progress import Progress
from archiver.repack import repack
from archiver.store import Unpacked
from runner.offline.reconfigured import own_members, with_config
from runner.offline.settings import CONFIG


def write(measured: Unpacked, child: Manifest, target: Path, config: str, progress: Progress) -> None:
    """Pack the members of what was measured, under the manifest of a child of the original. Raises CannotWrite."""
    with tempfile.TemporaryDirectory(prefix="archive-tune-") as folder:
        file = Path(folder) / (child.config_file or CONFIG)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(config, encoding="utf-8")
        repack(target, *with_config(own_members(measured), child, Path(folder), file), progress)
