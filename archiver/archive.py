"""Archive: open anything, list it, read it, verify it. Nothing here writes.

Opening reads the structure only: the safety rules have passed before a member is read, and weights are read when
somebody asks for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from archiver import safety
from archiver.config.findings import Finding, Severity, Where
from archiver.containers.directory import DirectorySource
from archiver.containers.formats import open_source, stem
from archiver.containers.source import Extent, Source
from archiver.containers.streams import until_end
from archiver.errors import ArchiveError, DamagedArchive, NotFound
from archiver.manifest import LARGEST, MANIFEST, SIGNATURE, Manifest, digest, parse, synthesise
from archiver.progress import Advance, Progress, silent

#: What `verify` reports: code → what it means. Rules that refuse an archive are in safety.RULES.
CODES = {
    "archive/hash-mismatch": "a member's sha256 is not the one in the manifest",
    "archive/damaged-member": "a member cannot be read whole: its size or CRC is wrong",
    "archive/unlisted-file": "a folder holds a file that its manifest does not list",
}


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """A member as listed: `size` unpacked and `packed` in bytes (None where only the whole is packed).

    `sha256` is the manifest's claim, None in a foreign archive; `role` may be empty there.
    """

    name: str
    size: int
    packed: int | None
    compression: str
    sha256: str | None
    role: str


class Archive:
    """An opened archive. `path` as given, `kind` "zip", "tgz" or "directory". Use as a context manager."""

    def __init__(self, path: Path, source: Source, limits: safety.Limits, name: str | None) -> None:
        self.path = path
        self.kind = source.kind
        self._source = source
        self._entries = {entry.name: entry for entry in source.listing.entries if entry.is_file}
        self.has_manifest = MANIFEST in self._entries
        self.manifest = self._read_manifest(name or stem(path))
        if self.kind == "directory":
            return
        # Also of a foreign archive: whoever signed it vouches for its members, so that nothing else may be in it.
        signed = SIGNATURE in self._entries
        if self.manifest.is_own or signed:
            safety.check_profile(source.listing, limits, signed=signed)
        if self.manifest.is_own:
            safety.check_content(source.listing, {file.path: file.size for file in self.manifest.files})

    @classmethod
    def open(cls, path: Path, *, limits: safety.Limits | None = None, name: str | None = None) -> Archive:
        """Open a .mar, .zip, .tar.gz or folder. `name`: of the model where no manifest says it.

        Raises NotFound, DamagedArchive, RefusedArchive.
        """
        limits = limits or safety.Limits()
        source = open_source(path, limits)
        try:
            safety.check(source.listing, limits)
            return cls(path, source, limits, name)
        except BaseException:
            source.close()
            raise

    @classmethod
    def of_folder(cls, folder: Path, name: str) -> Archive:
        """A folder that was unpacked from an archive that passed the rules."""
        return cls(folder, DirectorySource(folder), safety.Limits(), name)

    @property
    def root(self) -> Path:
        """The folder that the members of a plain folder lie in."""
        assert isinstance(self._source, DirectorySource), "only a folder has its members in a folder"
        return self._source.root

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._source.close()

    @cached_property
    def members(self) -> tuple[MemberInfo, ...]:
        """The members by name, the manifest among them."""
        shas = {file.path: file.sha256 for file in self.manifest.files}
        roles = {**self.manifest.roles(), MANIFEST: "manifest"}
        return tuple(
            MemberInfo(name, entry.size, entry.packed, entry.compression, shas.get(name), roles.get(name, ""))
            for name, entry in sorted(self._entries.items())
        )

    @property
    def in_file_order(self) -> tuple[MemberInfo, ...]:
        """The members as they lie in the file: a .tar.gz is read in one go only in this order."""
        by_name = {member.name: member for member in self.members}
        return tuple(by_name[name] for name in self._entries)

    def open_member(self, name: str) -> BinaryIO:
        """A member's content. Raises NotFound; reading raises DamagedArchive where size or CRC are wrong."""
        return self._source.open(self._entry(name))

    def read(self, name: str) -> bytes:
        """A member's whole content."""
        with self.open_member(name) as file:
            return file.read()

    def extent(self, name: str) -> Extent | None:
        """Where a member's bytes lie uncompressed in an open file, or None."""
        return self._source.extent(self._entry(name))

    def config_bytes(self) -> bytes | None:
        """The model config as packed, or None where the manifest names none."""
        name = self.manifest.config_file
        if name is None:
            return None
        if name not in self._entries:
            message = f"its manifest names the config file `{name}`, which is not there"
            raise DamagedArchive(message, where=str(self.path))
        return self.read(name)

    def config_text(self) -> str | None:
        """The model config as text. Raises DamagedArchive where it is not UTF-8."""
        data = self.config_bytes()
        try:
            return None if data is None else data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            message = f"member `{self.manifest.config_file}` is not UTF-8 at byte {error.start}"
            raise DamagedArchive(message, where=str(self.path)) from error

    @cached_property
    def claimed_digest(self) -> str | None:
        """Digest of the content by the hashes in the manifest, without reading members; None without hashes."""
        if not self.manifest.is_own or self.kind == "directory":
            return None
        return digest((member.name, member.sha256 or self.sha256(member.name)) for member in self.members)

    @cached_property
    def digest(self) -> str:
        """Digest of the content (see manifest.digest). Reads every member where the manifest has no hashes."""
        return self.claimed_digest or digest((name, self.sha256(name)) for name in self._entries)

    def sha256(self, name: str, advance: Advance = lambda _: None) -> str:
        """A member's sha256, by reading it."""
        found = hashlib.sha256()
        with self.open_member(name) as file:
            for chunk in until_end(file):
                found.update(chunk)
                advance(len(chunk))
        return found.hexdigest()

    def verify(self, progress: Progress = silent) -> list[Finding]:
        """Read everything and report what is not as the manifest says, or, without hashes, as the CRCs say."""
        total = sum(member.size for member in self.members)
        with progress(f"verifying {self.path.name}", total) as advance:
            return [
                *self._strays(),
                *(bad for member in self.in_file_order for bad in self._verified(member, advance)),
            ]

    def _verified(self, member: MemberInfo, advance: Advance) -> Iterator[Finding]:
        try:
            actual = self.sha256(member.name, advance)
        except DamagedArchive as error:
            yield self._finding("archive/damaged-member", error.message)
            return
        if member.sha256 is not None and actual != member.sha256:
            message = f"member `{member.name}` was altered: its sha256 is {actual}, not {member.sha256}"
            yield self._finding("archive/hash-mismatch", message)

    def _strays(self) -> Iterator[Finding]:
        """In a folder anybody can add and remove files; in a packed archive opening has refused that."""
        if self.kind != "directory" or not self.manifest.is_own:
            return
        listed = {file.path for file in self.manifest.files}
        for name in sorted(listed - set(self._entries)):
            yield self._finding("archive/missing-member", f"file `{name}` of its manifest is not there")
        for name in sorted(set(self._entries) - listed - safety.UNLISTED):
            message = f"file `{name}` is not in its manifest"
            yield self._finding("archive/unlisted-file", message, Severity.WARNING)

    def _finding(self, code: str, message: str, severity: Severity = Severity.ERROR) -> Finding:
        return Finding(code, severity, Where(str(self.path)), message)

    def _entry(self, name: str) -> safety.Entry:
        try:
            return self._entries[name]
        except KeyError:
            raise NotFound(f"{self.path} has no member `{name}`") from None

    def _read_manifest(self, name: str) -> Manifest:
        entry = self._entries.get(MANIFEST)
        if entry is None:
            return synthesise(name, self._entries)
        if entry.size > LARGEST:
            raise ArchiveError(f"its manifest has {entry.size} bytes, the limit is {LARGEST}", where=str(self.path))
        return parse(self.read(MANIFEST), str(self.path))
