"""`make demo` is a script that people read: it must work, be short, and show the real answer."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.e2e.projects import command
from tests.e2e.servers import environment

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "digits"


@pytest.fixture
def programs(tmp_path) -> Path:
    """A folder with `python` and `archive`, as an activated virtual environment would offer them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, arguments in (("python", ""), ("archive", "-m archiver ")):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.skipif(shutil.which("curl") is None, reason="the demo asks with curl")
@pytest.mark.skipif(find_spec("sklearn") is None, reason="the digits are scikit-learn's")
def test_the_demo_ends_with_the_right_answer_in_at_most_fifteen_lines(tmp_path, programs):
    shutil.copytree(EXAMPLE, tmp_path / "digits", ignore=shutil.ignore_patterns("*.pt", "*.mar"))
    variables = environment(tmp_path / "cache")
    variables["PATH"] = os.pathsep.join([str(programs), variables["PATH"]])
    lines = command(["./demo.sh"], tmp_path / "digits", variables).splitlines()
    assert lines[-1] == "right: it is a 7; the server stopped cleanly"
    assert any('"digit"' in line for line in lines)
    assert len(lines) <= 15, "\n".join(lines)
