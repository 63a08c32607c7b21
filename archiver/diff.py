"""What is different between two archives: manifest fields, config keys, required packages, files by digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archiver import sbom
from archiver.archive import Archive, MemberInfo
from archiver.manifest import MANIFEST, SBOM

#: Sections of the comparison, in the order they are shown.
SECTIONS = ("manifest", "config", "packages", "files")


class _Absent:
    """Stands for a key that one side does not have, which is not the same as null."""

    def __repr__(self) -> str:
        return "absent"


ABSENT = _Absent()


@dataclass(frozen=True, slots=True)
class Change:
    """One difference; `old` or `new` is ABSENT where a side has no such key."""

    section: str
    key: str
    old: Any
    new: Any


def compare(old: Archive, new: Archive) -> list[Change]:
    """All differences, by section and key; none when the archives hold the same. Files of equal size without
    hashes in their manifests are read.
    """
    return [
        *_changes("manifest", _manifest(old), _manifest(new)),
        *_changes("config", _config(old), _config(new)),
        *_changes("packages", _packages(old), _packages(new)),
        *_files(old, new),
    ]


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys: {"a": {"b": 1}} → {"a.b": 1}."""
    if not isinstance(value, Mapping) or not value:
        return {path: value} if path else {}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= flat(inner, f"{path}.{key}" if path else str(key))
    return found


def _changes(section: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    pairs = ((key, old.get(key, ABSENT), new.get(key, ABSENT)) for key in sorted({*old, *new}))
    return [Change(section, key, one, other) for key, one, other in pairs if one != other]


def _manifest(archive: Archive) -> dict[str, Any]:
    document = archive.manifest.to_json()
    document.pop("files", None)
    return flat(document)


def _config(archive: Archive) -> dict[str, Any]:
    data = archive.config_bytes()
    if data is None:
        return {}
    from archiver.config.source import read_source

    return flat(read_source(data, archive.manifest.config_file or "").values)


def _packages(archive: Archive) -> dict[str, Any]:
    """Versions of what is required. An archive without a bill of materials says nothing of them."""
    has_bill = any(member.name == SBOM for member in archive.members)
    return dict(sbom.libraries_of(archive.read(SBOM))) if has_bill else {}


def _files(old: Archive, new: Archive) -> list[Change]:
    """Digests of the files that differ; the manifest and what is made from it have their own sections."""
    olds, news = ({member.name: member for member in archive.members} for archive in (old, new))
    changes = []
    for name in sorted({*olds, *news} - {MANIFEST, SBOM}):
        one, other = olds.get(name), news.get(name)
        prints = (_fingerprint(old, one, other), _fingerprint(new, other, one))
        if prints[0] != prints[1]:
            changes.append(Change("files", name, *prints))
    return changes


def _fingerprint(archive: Archive, member: MemberInfo | None, other: MemberInfo | None) -> Any:
    """The sha256; only the size where that already tells two files apart and no hash is at hand."""
    if member is None:
        return ABSENT
    if member.sha256 is None and (other is None or member.size != other.size):
        return f"{member.size} bytes"
    return member.sha256 or archive.sha256(member.name)
