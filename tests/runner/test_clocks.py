"""Deadlines run on clocks that cannot be set: who reads the wall clock, and what for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import runner

_ROOT = Path(runner.__file__).parent
_WALL = {"time.time", "time.time_ns", "time.localtime", "time.gmtime", "datetime.now", "datetime.utcnow"}
#: The only ones, and none decides how long anybody waits for an answer.
FOR_PEOPLE = {
    ("pool/link.py", "time.time"),  # when a worker started, for its description
    ("service.py", "time.time"),  # when a key expires: a date in the operator's file
    ("metrics_log.py", "time.time"),  # when a line was written
    ("torchserve/snapshot.py", "datetime.now"),  # when a snapshot was made
    ("bench/machine.py", "datetime.now"),  # when a report was made
}


def wall_clocks(path: Path) -> Iterator[str]:
    """The wall clocks that a module names, called or handed on."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and (name := ast.unparse(node)) in _WALL:
            yield name
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (f"time.{each.name}" for each in node.names if f"time.{each.name}" in _WALL)


def test_nothing_that_serves_counts_on_the_wall_clock() -> None:
    found = {(str(path.relative_to(_ROOT)), name) for path in _ROOT.rglob("*.py") for name in wall_clocks(path)}
    assert found == FOR_PEOPLE
