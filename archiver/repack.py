"""An archive that was unpacked, packed again with other members: what it was made of stays, byte for byte."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from archiver.containers.formats import FORMATS, Format
from archiver.manifest import Manifest
from archiver.members import Member, in_order
from archiver.pack import write
from archiver.progress import Progress, silent


def members_of(manifest: Manifest, model_dir: Path) -> list[Member]:
    """The members of an archive of ours as they lie in its model folder."""
    return [
        Member(file.path, model_dir / file.path, file.size, file.role, file.path, file.format)
        for file in manifest.files
    ]


def member_of(name: str, source: Path, role: str, weights_format: str | None = None) -> Member:
    """A new member from a file."""
    return Member(name, source, source.stat().st_size, role, str(source), weights_format)


def repack(
    target: Path,
    members: Iterable[Member],
    manifest: Manifest,
    progress: Progress = silent,
) -> tuple[Manifest, str]:
    """Write these members as an archive of the kind that the target's name says; see `pack.write`."""
    return write(target, _format_of(target), in_order(members), manifest, progress)


def _format_of(target: Path) -> Format:
    return FORMATS["tgz" if target.name.endswith((".tar.gz", ".tgz")) else "default"]
