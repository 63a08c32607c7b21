"""What holds of every archive that could be opened, whatever its format."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from archiver.archive import Archive
from archiver.errors import ArchiveError
from archiver.safety import Limits
from archiver.workflow.archive import open_workflow

#: Small, so that the limits are met, and an input cannot cost more than a moment.
LIMITS = Limits(entries=64, total=4 << 20, ratio=50, floor=1 << 20)
_FILE = Path(tempfile.mkdtemp(prefix="fuzz-")) / "input.mar"


def read_all(data: bytes) -> dict[str, bytes] | None:
    """Every member of what `data` is as an archive, None where it is refused. Raises what is not an ArchiveError."""
    _FILE.write_bytes(data)
    with contextlib.suppress(ArchiveError):
        open_workflow(_FILE)
    try:
        with Archive.open(_FILE, limits=LIMITS) as archive:
            return _members(archive)
    except ArchiveError as error:
        assert str(error), "an error says what is wrong"
        return None


def _members(archive: Archive) -> dict[str, bytes] | None:
    errors = [finding for finding in archive.verify() if finding.is_error]
    content = {}
    for member in archive.members:
        assert not member.name.startswith("/") and ".." not in member.name.split("/"), member.name
        try:
            content[member.name] = archive.read(member.name)
        except ArchiveError:
            assert errors, f"verify has not seen that {member.name} cannot be read"
            return None
        assert len(content[member.name]) == member.size
    with contextlib.suppress(ArchiveError):
        archive.config_text()
    assert len(archive.digest) == 64
    return None if errors else content
