"""The rules that refuse a hostile member list. Pure: no file is opened here.

An archive is untrusted until proven otherwise. A container (containers/) reads what the file *claims* into a
`Listing`; the rules look at the claims alone, before a byte is unpacked. One function per rule, one code per
rule, `RULES` is the whole list. A rule answers with the sentence that names the entry, or None.

Plan:
  1. BOUNDS: how many entries, how many bytes.
  2. ENTRY rules look at one entry: its name, kind, encryption, ratio, both of its headers.
  3. LIST rules look at all entries together: duplicates, collisions, overlaps.
  4. PROFILE rules hold archives made or signed by this tool to the strict profile they were written in: nothing
     before, between or after the entries (TorchServe's reader stops silently at gaps and extracts hidden entries).
  5. CONTENT rules compare the list with the manifest's `files`.

Sources: shared/reference archive-format 5.2; PyPI's zip checks after CVE-2025-54368; CVE-2024-0450 (overlap).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from archiver.errors import RefusedArchive

#: Every refusal: code → the rule it stands for.
RULES = {
    "archive/escapes-root": "a member stays inside the archive's root: no `..`, no `.`",
    "archive/absolute-path": "a member's path is relative",
    "archive/backslash": "path parts are separated by `/`",
    "archive/bad-name": "names are short, printable and mean the same everywhere",
    "archive/link": "no symbolic or hard links",
    "archive/special-file": "regular files and folders only: no device, pipe or socket",
    "archive/encrypted": "no encrypted members",
    "archive/unsupported-compression": "stored, deflate or deflate64",
    "archive/extra-field": "no second name or size in an extra field",
    "archive/header-mismatch": "a member's own header and the zip directory agree",
    "archive/bomb-ratio": "a member does not unpack to a thousand times its size",
    "archive/too-large": "the archive unpacks to a size below the limit",
    "archive/too-many-entries": "the number of members is below the limit",
    "archive/duplicate-name": "one member per name",
    "archive/case-collision": "names differ by more than case or Unicode form",
    "archive/file-and-directory": "a path is a file or a folder, not both",
    "archive/overlapping-entries": "no two members share bytes",
    "archive/hidden-entry": "every member is in the zip directory",
    "archive/prefix": "nothing before the first member",
    "archive/gap": "nothing between the members",
    "archive/comment": "no comment at the end",
    "archive/data-descriptor": "sizes stand before the data",
    "archive/padding": "extra fields bring members to a page's beginning with zeros; signed archives have no others",
    "archive/unlisted-member": "every member is in the manifest's `files`",
    "archive/missing-member": "everything in the manifest's `files` is in the archive",
    "archive/size-mismatch": "sizes are those of the manifest's `files`",
}

#: Members that the manifest does not list: itself, and a signature made over it (manifest.SIGNATURE).
UNLISTED = frozenset({"MAR-INF/MANIFEST.json", "MAR-INF/model.sig"})

_UNICODE_PATH = 0x7075
_ZIP64 = 0x0001
_ALIGNMENT = 0xD935
_COMPRESSIONS = frozenset({"stored", "deflated", "deflate64"})
_DRIVE = re.compile(r"^[A-Za-z]:")
_RESERVED = re.compile(r"^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)
_LONGEST_NAME = 1024
_LONGEST_PART = 255


class Kind(Enum):
    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    SPECIAL = "special file"


@dataclass(frozen=True, slots=True)
class Header:
    """What one of an entry's two zip headers claims. `packed`, `size` in bytes; `extras`: tags of extra fields;
    `loose`: where they say nothing, there is more than our padding."""

    name: bytes
    method: int
    flags: int
    crc: int
    packed: int
    size: int
    extras: tuple[int, ...] = ()
    loose: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One member as its container claims it. Sizes in bytes; `packed` is None where the container cannot say.

    `start`, `data` and `end` are offsets in the file: of the entry, of its bytes, behind them (zip only).
    """

    name: str
    size: int
    packed: int | None
    kind: Kind
    compression: str
    crc: int | None = None
    encrypted: bool = False
    start: int = 0
    data: int = 0
    end: int = 0
    central: Header | None = None
    local: Header | None = None
    descriptor: bool = False

    @property
    def is_file(self) -> bool:
        return self.kind is Kind.FILE


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes that belong to no entry. `entry_like`: they begin as a zip entry does."""

    after: str
    size: int
    entry_like: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything a container claims. `file_size` is the archive's own size; `gaps`, `prefix`, `comment` are zip's."""

    archive: str
    file_size: int
    entries: tuple[Entry, ...]
    gaps: tuple[Gap, ...] = ()
    prefix: int = 0
    comment: int = 0
    directory_start: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an archive may unpack to. `ratio` counts above `floor` bytes only, so that tiny text is fine."""

    entries: int = 65_535
    total: int = 1 << 40
    ratio: int = 1_000
    floor: int = 16 << 20


EntryRule = Callable[[Entry, Limits], str | None]
ListRule = Callable[[Listing, Limits], str | None]


def _escapes_root(entry: Entry, _: Limits) -> str | None:
    if not {"..", "."} & set(_parts(entry)):
        return None
    return f"member `{entry.name}` would land outside the archive"


def _absolute_path(entry: Entry, _: Limits) -> str | None:
    if not entry.name.startswith("/") and not _DRIVE.match(entry.name):
        return None
    return f"member `{entry.name}` has an absolute path"


def _backslash(entry: Entry, _: Limits) -> str | None:
    return f"member `{entry.name}` has a backslash in its name" if "\\" in entry.name else None


def _bad_name(entry: Entry, _: Limits) -> str | None:
    reason = name_fault(entry.name.removesuffix("/"))
    return f"member {entry.name!r} {reason}" if reason else None


def _link(entry: Entry, _: Limits) -> str | None:
    return f"member `{entry.name}` is a link" if entry.kind is Kind.LINK else None


def _special_file(entry: Entry, _: Limits) -> str | None:
    if entry.kind is Kind.SPECIAL:
        return f"member `{entry.name}` is neither a file nor a folder"
    if entry.kind is Kind.DIRECTORY and entry.size:
        return f"member `{entry.name}` is a folder with {entry.size} bytes of content"
    return None


def _encrypted(entry: Entry, _: Limits) -> str | None:
    return f"member `{entry.name}` is encrypted" if entry.encrypted else None


def _unsupported_compression(entry: Entry, _: Limits) -> str | None:
    if entry.compression in _COMPRESSIONS:
        return None
    return f"member `{entry.name}` is compressed with {entry.compression}; stored, deflate and deflate64 are read"


def _extra_field(entry: Entry, _: Limits) -> str | None:
    for header in filter(None, (entry.central, entry.local)):
        if _UNICODE_PATH in header.extras:
            return f"member `{entry.name}` carries a second name in an extra field"
        if header.extras.count(_ZIP64) > 1:
            return f"member `{entry.name}` carries a second size in an extra field"
    return None


def _header_mismatch(entry: Entry, _: Limits) -> str | None:
    if entry.central is None or entry.local is None:
        return None
    for field in ("name", "method", "flags", "crc", "packed", "size"):
        central, local = getattr(entry.central, field), getattr(entry.local, field)
        if central != local and not (entry.descriptor and field in ("crc", "packed", "size") and local == 0):
            return f"member `{entry.name}` has {field} {local!r} in its header but {central!r} in the zip directory"
    return None


def _bomb_ratio(entry: Entry, limits: Limits) -> str | None:
    if entry.packed is None or entry.size <= limits.floor or entry.size <= entry.packed * limits.ratio:
        return None
    return f"member `{entry.name}` unpacks {entry.packed} bytes to {entry.size}, more than {limits.ratio} times"


def _too_many_entries(listing: Listing, limits: Limits) -> str | None:
    count = len(listing.entries)
    return f"it has {count} members, the limit is {limits.entries}" if count > limits.entries else None


def _too_large(listing: Listing, limits: Limits) -> str | None:
    total = 0
    for entry in listing.entries:
        total += entry.size
        if total > limits.total:
            return f"it unpacks to more than {limits.total} bytes, reached at member `{entry.name}`"
    return None


def _total_ratio(listing: Listing, limits: Limits) -> str | None:
    total = sum(entry.size for entry in listing.entries)
    if total <= limits.floor or total <= listing.file_size * limits.ratio:
        return None
    largest = max(listing.entries, key=lambda entry: entry.size)
    return (
        f"its {listing.file_size} bytes unpack to {total}, more than {limits.ratio} times "
        f"(largest member `{largest.name}`)"
    )


def _duplicate_name(listing: Listing, _: Limits) -> str | None:
    seen: set[str] = set()
    for name in (entry.name.rstrip("/") for entry in listing.entries if entry.is_file):
        if name in seen:
            return f"member `{name}` is there twice"
        seen.add(name)
    return None


def _case_collision(listing: Listing, _: Limits) -> str | None:
    seen: dict[str, str] = {}
    for path in _paths(listing.entries):
        first = seen.setdefault(folded(path), path)
        if first != path:
            return f"members `{first}` and `{path}` are one file where case or Unicode form does not count"
    return None


def _file_and_directory(listing: Listing, _: Limits) -> str | None:
    files = {entry.name for entry in listing.entries if entry.is_file}
    for entry in listing.entries:
        for folder in _folders(entry):
            if folder in files:
                return f"member `{folder}` is a file and also the folder of `{entry.name}`"
    return None


def _overlapping_entries(listing: Listing, _: Limits) -> str | None:
    placed = sorted((entry for entry in listing.entries if entry.end), key=lambda entry: entry.start)
    for one, other in pairwise(placed):
        if other.start < one.end:
            return f"members `{one.name}` and `{other.name}` share bytes"
    if placed and placed[-1].end > listing.directory_start:
        return f"member `{placed[-1].name}` reaches into the zip directory"
    return None


def _hidden_entry(listing: Listing, _: Limits) -> str | None:
    for gap in listing.gaps:
        if gap.entry_like:
            return f"a hidden member follows `{gap.after}`: the zip directory does not know it"
    return None


def _prefix(listing: Listing, _: Limits) -> str | None:
    return f"{listing.prefix} bytes stand before its first member" if listing.prefix else None


def _gap(listing: Listing, _: Limits) -> str | None:
    return next((f"{gap.size} unknown bytes follow member `{gap.after}`" for gap in listing.gaps), None)


def _comment(listing: Listing, _: Limits) -> str | None:
    return f"{listing.comment} bytes of comment stand at its end" if listing.comment else None


def _data_descriptor(listing: Listing, _: Limits) -> str | None:
    named = (entry.name for entry in listing.entries if entry.descriptor)
    return next((f"member `{name}` has its sizes behind its data" for name in named), None)


def _padding(listing: Listing, _: Limits) -> str | None:
    named = (name for name, header in _headers(listing) if header.loose)
    return next((f"member `{name}` has bytes in an extra field that say nothing" for name in named), None)


def _unknown_extra(listing: Listing, _: Limits) -> str | None:
    named = (name for name, header in _headers(listing) if not {_ZIP64, _ALIGNMENT}.issuperset(header.extras))
    return next((f"member `{name}` has an extra field that no signature vouches for" for name in named), None)


def _headers(listing: Listing) -> Iterator[tuple[str, Header]]:
    for entry in listing.entries:
        for header in filter(None, (entry.central, entry.local)):
            yield entry.name, header


ENTRY: tuple[tuple[str, EntryRule], ...] = (
    ("archive/link", _link),
    ("archive/special-file", _special_file),
    ("archive/absolute-path", _absolute_path),
    ("archive/backslash", _backslash),
    ("archive/escapes-root", _escapes_root),
    ("archive/bad-name", _bad_name),
    ("archive/extra-field", _extra_field),
    ("archive/header-mismatch", _header_mismatch),
    ("archive/encrypted", _encrypted),
    ("archive/unsupported-compression", _unsupported_compression),
    ("archive/bomb-ratio", _bomb_ratio),
)

BOUNDS: tuple[tuple[str, ListRule], ...] = (
    ("archive/too-many-entries", _too_many_entries),
    ("archive/too-large", _too_large),
)

LIST: tuple[tuple[str, ListRule], ...] = (
    ("archive/overlapping-entries", _overlapping_entries),
    ("archive/bomb-ratio", _total_ratio),
    ("archive/duplicate-name", _duplicate_name),
    ("archive/case-collision", _case_collision),
    ("archive/file-and-directory", _file_and_directory),
    ("archive/hidden-entry", _hidden_entry),
)

PROFILE: tuple[tuple[str, ListRule], ...] = (
    ("archive/prefix", _prefix),
    ("archive/data-descriptor", _data_descriptor),
    ("archive/gap", _gap),
    ("archive/comment", _comment),
    ("archive/padding", _padding),
)

SIGNED: tuple[tuple[str, ListRule], ...] = (*PROFILE, ("archive/padding", _unknown_extra))


def check(listing: Listing, limits: Limits) -> None:
    """Apply the rules that hold for every archive, whoever made it. Raises RefusedArchive."""
    _apply(BOUNDS, listing, limits)
    for code, rule in ENTRY:
        for entry in listing.entries:
            _refuse(listing.archive, code, rule(entry, limits))
    _apply(LIST, listing, limits)


def check_profile(listing: Listing, limits: Limits, *, signed: bool) -> None:
    """Apply the rules of the strict profile to an archive that says it was made by this tool, or that is signed."""
    _apply(SIGNED if signed else PROFILE, listing, limits)


def check_content(listing: Listing, files: Mapping[str, int]) -> None:
    """Hold the list against the manifest's `files` (name → size). Raises RefusedArchive."""
    found = {entry.name: entry.size for entry in listing.entries if entry.is_file}
    for name, size in found.items():
        if name in UNLISTED:
            continue
        if name not in files:
            _refuse(listing.archive, "archive/unlisted-member", f"member `{name}` is not in its manifest")
        elif files[name] != size:
            message = f"member `{name}` has {size} bytes, its manifest says {files[name]}"
            _refuse(listing.archive, "archive/size-mismatch", message)
    for name in files:
        if name not in found:
            _refuse(listing.archive, "archive/missing-member", f"member `{name}` of its manifest is not there")


def name_fault(name: str) -> str | None:
    """Why a name cannot be a member's, as the end of a sentence ("is empty"), or None if it can."""
    if not name or "" in name.split("/"):
        return "has an empty part in its name"
    if len(name.encode("utf-8", "surrogatepass")) > _LONGEST_NAME:
        return f"has a name of more than {_LONGEST_NAME} bytes"
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in name):
        return "has an invisible or control character in its name"
    return next(filter(None, map(_part_fault, name.split("/"))), None)


def folded(path: str) -> str:
    """The path as a file system sees it that ignores case and Unicode form."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())


def refuse(archive: str, code: str, message: str) -> RefusedArchive:
    """The error for a rule that a container meets while it reads. `code` is one of RULES."""
    assert code in RULES, f"no such rule: {code}"
    return RefusedArchive(code, archive, message)


def _apply(rules: tuple[tuple[str, ListRule], ...], listing: Listing, limits: Limits) -> None:
    for code, rule in rules:
        _refuse(listing.archive, code, rule(listing, limits))


def _refuse(archive: str, code: str, message: str | None) -> None:
    if message is not None:
        raise refuse(archive, code, message)


def _part_fault(part: str) -> str | None:
    if len(part.encode("utf-8", "surrogatepass")) > _LONGEST_PART:
        return f"has a part of more than {_LONGEST_PART} bytes in its name"
    if _RESERVED.match(part):
        return f"has the name `{part}`, which Windows reserves for a device"
    if part[-1] in ". " and part not in (".", ".."):
        return "has a name that ends with a dot or a space"
    return None


def _parts(entry: Entry) -> Sequence[str]:
    return entry.name.rstrip("/").split("/")


def _folders(entry: Entry) -> Iterable[str]:
    parts = _parts(entry)
    deepest = len(parts) if entry.is_file else len(parts) + 1
    return ("/".join(parts[:depth]) for depth in range(1, deepest))


def _paths(entries: Iterable[Entry]) -> Iterable[str]:
    for entry in entries:
        yield from _folders(entry)
        yield entry.name.rstrip("/")
