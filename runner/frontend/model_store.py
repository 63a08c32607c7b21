"""`url` of a registration → an archive in the model store. A name, never a way out: no path from the API to any other
place of the file system, and no download."""

from __future__ import annotations

from pathlib import Path


class NotInStore(Exception):
    """The message is for the client."""


class NoSuchArchive(NotInStore):
    """The store has no archive of that name, or the name leads out of it."""


def find(store: Path | None, url: str, absent: str = "Model not found at") -> Path:
    """The archive of that name. `absent`: how the client is told that there is none. Raises NotInStore."""
    if store is None:
        raise NotInStore("No model store: start the server with --model-store DIR.")
    if "://" in url:
        raise NotInStore(f"Given URL {url} does not match any allowed URL(s)")
    root = store.resolve()
    try:
        found = (root / url).resolve()
        exists = found.exists()
    except (OSError, ValueError, RuntimeError) as error:  # a name that no file can have, or a link to itself
        raise NoSuchArchive(f"{absent}: {url}") from error
    if not found.is_relative_to(root) or found == root:
        raise NoSuchArchive(f"Relative path is not allowed in url: {url}")
    if not exists:
        raise NoSuchArchive(f"{absent}: {url}")
    return found
