"""What tells a workflow archive from a model's: its name."""

from __future__ import annotations

from pathlib import Path

SUFFIX = ".war"


def is_workflow(path: Path) -> bool:
    """Whether the name says that it holds a workflow."""
    return path.name.endswith(SUFFIX)
