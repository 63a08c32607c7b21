"""An archive's members with another config: what `archive optimize` and `archive tune` write a new archive of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from archiver.archive import Archive
from archiver.manifest import PRECOMPILED, Manifest
from archiver.members import Member
from archiver.repack import member_of, members_of
from archiver.store import Unpacked


def own_members(opened: Unpacked) -> list[Member]:
    """The archive's members without code that was compiled for it."""
    members = members_of(opened.manifest, opened.model_dir)
    return [each for each in members if each.role != PRECOMPILED]


def with_config(
    members: Sequence[Member], manifest: Manifest, folder: Path, file: Path
) -> tuple[list[Member], Manifest]:
    """With that file of the folder as the config, under its name there."""
    name = file.relative_to(folder).as_posix()
    kept = [each for each in members if each.name != name]
    return [*kept, member_of(name, file, "config")], replace(manifest, config_file=name)


def child_of(opened: Unpacked, source: Path) -> Manifest:
    """The manifest of a new archive that is made of this one: it names its parent, and has no compiled code."""
    with Archive.open(source) as archive:
        parent = archive.claimed_digest or opened.digest
    return replace(opened.manifest, precompiled=(), parent=f"sha256:{parent}")
