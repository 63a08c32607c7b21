"""Is an archive what somebody whom we trust has signed? Every member must be in the signature, and as it says there.

Only the signature itself may be unsigned, whatever paths the statement says to ignore: what nobody vouches for is
not served. A folder is searched for files that opening an archive would pass over, such as compiled Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from archiver.archive import Archive
from archiver.config.findings import Finding, Severity, Where
from archiver.errors import DamagedArchive, UntrustedSignature
from archiver.hashing import sha256_of
from archiver.manifest import MANIFEST, SIGNATURE, digest
from archiver.safety import refuse
from archiver.signing import statement

if TYPE_CHECKING:
    from archiver.signing.keys import Trusted

#: What is wrong with a signature: code → what it means.
CODES = {
    "signature/missing": "the archive has no signature, and one was asked for",
    "signature/malformed": "the signature is no OpenSSF Model Signing bundle over sha256 hashes of files",
    "signature/unknown-signer": "the signature is by somebody whose key or certificate was not given",
    "signature/invalid": "the signature is not one that its key has made over this statement",
    "signature/unsigned-member": "a member is not in the signature: it was added or renamed later",
    "signature/missing-member": "a member of the signature is not there: it was removed or renamed later",
    "signature/altered-member": "a member's sha256 is not the one in the signature",
    "signature/folder": "where signatures are required, packed archives are served: a folder can change later",
}


_CHANGED = ("signature/invalid", "signature/unsigned-member", "signature/missing-member", "signature/altered-member")


class BadSignature(ValueError):
    """The archive's signature proves nothing; `code` is one of CODES, the message is a sentence about the archive."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Signed:
    """A good signature: by whom, for people, and over what, name → sha256 in hex."""

    signer: str
    files: Mapping[str, str]


def signed(archive: Archive, trusted: Trusted) -> Signed:
    """What the archive's signature says, once it is proven to be of somebody trusted. Raises BadSignature."""
    from archiver.signing.keys import NotTrusted

    try:
        bundle = bundle_of(archive)
        signer = trusted.signer(bundle)
        return Signed(signer, statement.files_of(bundle.payload))
    except statement.Malformed as error:
        raise BadSignature("signature/malformed", f"its signature {error}") from error
    except NotTrusted as error:
        raise BadSignature(error.code, f"its signature {error}") from error


def bundle_of(archive: Archive) -> statement.Bundle:
    """The signature as it is stored, not proven. Raises BadSignature where there is none, Malformed."""
    sizes = {member.name: member.size for member in archive.members}
    if SIGNATURE not in sizes:
        raise BadSignature("signature/missing", "it has no signature")
    if sizes[SIGNATURE] > statement.LARGEST:
        raise statement.Malformed(f"has {sizes[SIGNATURE]} bytes, the limit is {statement.LARGEST}")
    return statement.from_bytes(archive.read(SIGNATURE))


def claims(archive: Archive) -> dict[str, str]:
    """Name → sha256 of every member but the signature: as the manifest says, where unpacking will check it, and the
    manifest's own; else by reading. Raises DamagedArchive, and RefusedArchive for links in a folder."""
    if archive.kind == "directory":
        return {name: sha256_of(path) for name, path in _files(archive.root)}
    return {name: said or archive.sha256(name) for name, said in _said(archive)}


def _said(archive: Archive) -> Iterator[tuple[str, str | None]]:
    """What the manifest says of each member, never of itself, whatever it lists."""
    for member in archive.in_file_order:
        if member.name != SIGNATURE:
            yield member.name, member.sha256 if member.name != MANIFEST else None


def differences(says: Mapping[str, str], found: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Code and sentence for each file on which a signature and an archive disagree, by name."""
    for name in sorted({*says, *found}):
        if name not in says:
            yield "signature/unsigned-member", f"member `{name}` is not in its signature"
        elif name not in found:
            yield "signature/missing-member", f"member `{name}` of its signature is not there"
        elif says[name] != found[name]:
            what = f"member `{name}` has the sha256 {found[name]}, its signature says {says[name]}"
            yield "signature/altered-member", what


def verify_signature(archive: Archive, trusted: Trusted) -> tuple[str | None, list[Finding]]:
    """Who signed, None when nobody trusted did, and what is wrong. `Archive.verify` checks what the manifest says."""
    try:
        found = signed(archive, trusted)
    except BadSignature as error:
        return None, [_finding(archive, error.code, str(error))]
    try:
        wrong = differences(found.files, claims(archive))
        return found.signer, [_finding(archive, code, sentence) for code, sentence in wrong]
    except DamagedArchive as error:
        return found.signer, [_finding(archive, "archive/damaged-member", error.message)]


class Gate:
    """Lets pass what is signed by one of the keys at `path`, a PEM file or a folder of them. They are read each time:
    who is added is trusted from then on, who is removed no longer."""

    def __init__(self, path: Path, read: Callable[[Path], Trusted]) -> None:
        self._path = path
        self._read = read
        read(path)

    def __call__(self, archive: Archive) -> str:
        """The digest of the content that was signed; what is unpacked must have it. Raises UntrustedSignature."""
        if archive.kind == "directory":
            raise self._refused(archive, "signature/folder", "it is a folder, whose files can change at any time")
        try:
            vouched = signed(archive, self._read(self._path)).files
        except BadSignature as error:
            raise self._refused(archive, error.code, str(error)) from error
        found = claims(archive)
        for code, sentence in differences(vouched, found):
            raise self._refused(archive, code, sentence)
        return digest(found.items())

    def _refused(self, archive: Archive, code: str, sentence: str) -> UntrustedSignature:
        signs = f"`archive sign {archive.path.name} --key PRIVATE.pem` signs it, with a key of {self._path}"
        hints = {"signature/folder": "`archive create` packs it, `archive sign` signs it"}
        hints |= dict.fromkeys(_CHANGED, "it was changed after it was signed: get it anew from whom it is")
        return UntrustedSignature(code, str(archive.path), sentence, hint=hints.get(code, signs))


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """Every file, hidden and compiled ones as well."""
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink() and path.is_dir():
            raise refuse(str(root), "archive/link", f"member `{name}` is a link to a folder")
        if name != SIGNATURE and not path.is_dir():
            yield name, path


def _finding(archive: Archive, code: str, message: str) -> Finding:
    hint = "`archive sign FILE --key PRIVATE.pem` signs it" if code == "signature/missing" else None
    return Finding(code, Severity.ERROR, Where(str(archive.path)), message, hint)
