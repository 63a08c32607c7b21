"""The marked parts of pages that people write: `<!-- NAME -->` … `<!-- /NAME -->`. Pure."""

from __future__ import annotations

from archiver.errors import ArchiveError

NAME = "side-by-side"


class NoMarkers(ArchiveError):
    """A page has no place for what is generated."""

    code = "benchmarks/no-markers"


def replaced(page: str, block: str, where: str) -> str:
    """The page with the block between its markers; all else as it was. Raises NoMarkers."""
    begin, end = f"<!-- {NAME} -->\n", f"<!-- /{NAME} -->"
    before, found, rest = page.partition(begin)
    _, also, after = rest.partition(end)
    if not found or not also:
        raise NoMarkers(f"nothing marks where the tables go; expected {begin.strip()} … {end}", where=where)
    return f"{before}{begin}{block.strip()}\n{end}{after}"
