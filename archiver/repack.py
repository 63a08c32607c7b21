"""An archive that was unpacked, packed again with other members: what it was made of stays, byte for byte."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from archiver.containers.formats import FORMATS
from archiver.hashing import sha256_of
from archiver.manifest import BILL, SBOM, Manifest, digest
from archiver.members import Member, in_order
from archiver.pack import write
from archiver.progress import Progress, silent
from archiver.safety import UNLISTED


def members_of(manifest: Manifest, model_dir: Path) -> list[Member]:
    """The members of an archive as they lie in its model folder, but for its manifest and bill of materials, which
    packing makes anew."""
    if not manifest.is_own:
        return _found(manifest, model_dir)
    return [
        Member(file.path, model_dir / file.path, file.size, file.role, file.path, file.format)
        for file in manifest.files
        if file.role != BILL
    ]


def _found(manifest: Manifest, model_dir: Path) -> list[Member]:
    """The members of a foreign archive: nothing lists them."""
    roles = manifest.roles()
    names = (path.relative_to(model_dir).as_posix() for path in model_dir.rglob("*") if path.is_file())
    wanted = (name for name in names if name not in (*UNLISTED, SBOM))
    return [member_of(name, model_dir / name, roles.get(name, "extra")) for name in wanted]


def content_of(manifest: Manifest, model_dir: Path) -> str:
    """`Manifest.content`; of a foreign archive, what it will be once it is packed again, by reading its files."""
    return manifest.content() or digest((each.name, sha256_of(each.source)) for each in _found(manifest, model_dir))


def member_of(name: str, source: Path, role: str, weights_format: str | None = None) -> Member:
    """A new member from a file."""
    return Member(name, source, source.stat().st_size, role, str(source), weights_format)


def repack(target: Path, members: Iterable[Member], manifest: Manifest, progress: Progress = silent) -> Manifest:
    """Write these members as an archive of the kind that the target's name says; its manifest. See `pack.write`."""
    kind = "tgz" if target.name.endswith((".tar.gz", ".tgz")) else "default"
    return write(target, FORMATS[kind], in_order(members), manifest, progress)[0]
