"""Members: the files to pack, each under its name in the archive, in the order they are written. Pure.

Two sources for one name end here, as do names that no reader would accept. Every member is stored, not deflated:
weights do not get smaller, and stored bytes do not depend on a zlib build.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from archiver.config.findings import Finding, Severity, Where
from archiver.manifest import MAR_INF
from archiver.safety import folded, name_fault

#: Members of this many bytes and more come after the small ones.
LARGE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Member:
    """A file to pack: `source` on disk, `size` in bytes, `typed` as the user named it, `format` of weights."""

    name: str
    source: Path
    size: int
    role: str
    typed: str
    format: str | None = None


def plan(candidates: Iterable[Member]) -> tuple[tuple[Member, ...], list[Finding]]:
    """The members in order, and what is wrong with their names. One file named twice is packed once, in its
    first role.
    """
    chosen: dict[str, Member] = {}
    findings: list[Finding] = []
    for member in candidates:
        first = chosen.setdefault(folded(member.name), member)
        if first is not member and (first.source != member.source or first.name != member.name):
            findings.append(_clash(first, member))
    members = in_order(chosen.values())
    findings += [_bad_name(member, fault) for member in members if (fault := _fault(member.name))]
    findings += _nested(members)
    return tuple(members), findings


def in_order(members: Iterable[Member]) -> list[Member]:
    """As they are written: small files first, then the large ones that start on a page; by name within each."""
    return sorted(members, key=_order)


def _order(member: Member) -> tuple[bool, bytes]:
    return member.size >= LARGE, member.name.encode("utf-8", "surrogateescape")


def _fault(name: str) -> str | None:
    if "\\" in name:
        return "has a backslash in its name"
    if folded(name.partition("/")[0]) == folded(MAR_INF):
        return f"would lie in {MAR_INF}/, which belongs to the archive itself"
    return name_fault(name)


def _nested(members: Iterable[Member]) -> list[Finding]:
    """A name that is a file here and a folder there."""
    by_name = {folded(member.name): member for member in members}
    findings = []
    for member in by_name.values():
        parts = member.name.split("/")
        for depth in range(1, len(parts)):
            file = by_name.get(folded("/".join(parts[:depth])))
            if file is not None:
                findings.append(_clash(file, member))
    return findings


def _clash(first: Member, second: Member) -> Finding:
    message = f"`{first.source}` and `{second.source}` would both be `{first.name}` in the archive"
    if first.name != second.name:
        message = f"`{first.source}` and `{second.source}` clash in the archive: `{first.name}`, `{second.name}`"
    hint = "rename one of them, or keep their folder: `--extra-files DIR/` packs DIR/ with its name"
    return Finding("project/name-clash", Severity.ERROR, Where(second.typed), message, hint)


def _bad_name(member: Member, fault: str) -> Finding:
    return Finding("project/bad-name", Severity.ERROR, Where(member.typed), f"{member.name!r} {fault}")
