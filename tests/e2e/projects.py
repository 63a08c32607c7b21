"""Projects in a folder: their steps run as a person would type them, and must succeed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.servers import archive_command, environment


def archive(*arguments: str | Path, folder: Path) -> str:
    """`archive …` in the folder; its stdout."""
    return succeeded(archive_command(*map(str, arguments), cache=folder / ".cache", cwd=folder))


def python(*arguments: str, folder: Path) -> str:
    """`python …` in the folder; its stdout."""
    return command([sys.executable, *arguments], folder, environment())


def command(words: list[str], folder: Path, variables: Mapping[str, str]) -> str:
    """Any program in the folder; its stdout."""
    return succeeded(subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True, timeout=120))


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    """Its stdout; fails the test with everything it said when its exit code is not 0."""
    assert done.returncode == 0, f"{done.args}\n{done.stdout}{done.stderr}"
    return done.stdout
