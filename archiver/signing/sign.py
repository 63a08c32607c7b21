"""The recipe of `archive sign`: copy every member and hash it, sign what was copied, publish.

The archive grows beside itself and takes its own place by a rename, its members in the order they had; what was
deflated is stored afterwards. In a folder only the signature is written. Nothing is signed that is not as its
manifest says.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from archiver.archive import Archive, MemberInfo
from archiver.containers.draft import DraftFile, cannot_write
from archiver.containers.formats import FORMATS
from archiver.containers.source import Sink
from archiver.containers.streams import damaged, until_end
from archiver.errors import InvalidInput, OutputExists
from archiver.manifest import SIGNATURE
from archiver.pack import publishing
from archiver.progress import Advance, Progress, silent
from archiver.signing import statement
from archiver.signing.verify import claims

if TYPE_CHECKING:
    from archiver.signing.keys import Signer

_FORMATS = {"zip": FORMATS["default"], "tgz": FORMATS["tgz"]}


def sign(path: Path, signer: Signer, *, force: bool = False, progress: Progress = silent) -> dict[str, str]:
    """Put a signature into the archive; name → sha256 of what was signed. `force` replaces an older one.

    Raises OutputExists, CannotWrite, DamagedArchive, InvalidInput for a folder that is not as its manifest says, and
    what opening an archive raises; then the archive is as it was.
    """
    with Archive.open(path) as archive:
        names = [member.name for member in archive.members]
        if SIGNATURE in names and not force:
            raise OutputExists(f"the signature of {path}")
        if archive.kind == "directory":
            return _sign_folder(archive, signer, progress)
        # A link stays one: what it leads to is signed.
        with publishing(_FORMATS[archive.kind], path.resolve()) as sink:
            files = _copied(archive, sink, progress)
            _put(sink, SIGNATURE, _signature(archive, signer, files))
    return files


def _copied(archive: Archive, sink: Sink, progress: Progress) -> dict[str, str]:
    members = [member for member in archive.in_file_order if member.name != SIGNATURE]
    with progress(f"signing {archive.path.name}", sum(member.size for member in members)) as advance:
        return {member.name: _copy(archive, member, sink, advance) for member in members}


def _copy(archive: Archive, member: MemberInfo, sink: Sink, advance: Advance) -> str:
    found = hashlib.sha256()
    sink.begin(member.name, member.size)
    with archive.open_member(member.name) as content:
        for chunk in until_end(content):
            found.update(chunk)
            sink.write(chunk)
            advance(len(chunk))
    sink.end()
    if member.sha256 not in (None, found.hexdigest()):
        raise damaged(str(archive.path), member.name, "was altered: its sha256 is not the one in the manifest")
    return found.hexdigest()


def _put(sink: Sink, name: str, data: bytes) -> None:
    sink.begin(name, len(data))
    sink.write(data)
    sink.end()


def _signature(archive: Archive, signer: Signer, files: dict[str, str]) -> bytes:
    return statement.to_bytes(signer.sign(statement.payload_of(archive.manifest.model_name, files)))


def _sign_folder(archive: Archive, signer: Signer, progress: Progress) -> dict[str, str]:
    errors = [finding for finding in archive.verify(progress) if finding.is_error]
    if errors:
        raise InvalidInput(errors, spared="nothing was signed")
    files = claims(archive)
    target = archive.root / SIGNATURE
    try:
        _write(target, _signature(archive, signer, files))
    except OSError as error:
        raise cannot_write(target, error) from error
    return files


def _write(target: Path, data: bytes) -> None:
    draft = DraftFile(target)
    try:
        draft.file.write(data)
        draft.publish()
    except BaseException:
        draft.abort()
        raise
