"""The sample input that an archive brings (`warmup.input`), as rows like a client would send them."""

from __future__ import annotations

from pathlib import Path

from runner import wire
from runner.content_types import content_type_of
from runner.handlers.errors import CannotLoad


def row_from(file: Path, content_type: str | None = None, row_id: str = "sample") -> wire.Row:
    """The file as the one row of a request: its whole content is the body. Raises OSError."""
    kind = content_type or content_type_of(file.name)
    body = file.read_bytes()
    headers = wire.pack_headers([(b"content-type", kind.encode("latin-1"))])
    return wire.Row(row_id, [("body", kind, body)], headers)


def sample_row(model_dir: Path, member: str | None) -> wire.Row | None:
    """The archive's sample, None when its config names none. Raises CannotLoad when the archive lacks it."""
    if member is None:
        return None
    file = model_dir / member
    outside = Path(member).is_absolute() or ".." in Path(member).parts
    if outside or not file.is_file():
        raise CannotLoad(f"warmup.input names {member}, which is not in the archive")
    return row_from(file)
