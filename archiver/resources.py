"""Finds the schemas and templates that ship with the package, in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def resource(*parts: str) -> Path:
    """Path of a shipped file or folder, e.g. `resource("schemas", "manifest.schema.json")`.

    A wheel carries the folders inside the package; a checkout has them one level up.
    """
    inside = _HERE.joinpath(*parts)
    return inside if inside.exists() else _HERE.parent.joinpath(*parts)
