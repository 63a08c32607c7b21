"""What the README shows is what happens. Numbers, digests, times and ports differ from run to run; words do not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.archiver.signing.people import person
from tests.builders import make_archive
from tests.e2e.projects import command
from tests.e2e.servers import environment

ROOT = Path(__file__).resolve().parents[2]
NUMBER = re.compile(r"sha256:[0-9a-f]+|\bkey [0-9a-f]{16}\b|\d[\d.,:]*")
BAD_CONFIG = "BatchSize: 4\nminWorkers: 1\nmaxBatchDelay: 0\nmaxWorkers: 1\nbatchSize: 4\nprecision: bf61\n"


def block(first: str) -> list[str]:
    """The lines of the README's console block that begins with this command, without it."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return next(text for text in blocks if text.startswith(f"$ {first}")).splitlines()[1:]


def words(line: str) -> str:
    return NUMBER.sub("#", line).strip()


def assert_shows(output: str, expected: list[str]) -> None:
    """Every expected line is in the output, in that order."""
    lines = iter(words(line) for line in output.splitlines())
    for line in expected:
        assert words(line) in lines, f"the README shows {line!r}, which is not (or not there) in:\n{output}"


@pytest.fixture
def variables(tmp_path) -> dict[str, str]:
    """An environment with `python` and `archive` on the path, as an activated virtual environment offers them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, arguments in (("python", ""), ("archive", "-m archiver ")):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        (folder / name).chmod(0o755)
    plain = environment(tmp_path / "cache")
    return {**plain, "PATH": os.pathsep.join([str(folder), plain["PATH"]])}


@pytest.mark.skipif(shutil.which("curl") is None, reason="the demo asks with curl")
@pytest.mark.skipif(find_spec("sklearn") is None, reason="the digits are scikit-learn's")
def test_the_demo_is_as_printed_and_at_most_fifteen_lines(tmp_path, variables):
    shutil.copytree(ROOT / "examples" / "digits", tmp_path / "digits", ignore=shutil.ignore_patterns("*.pt", "*.mar"))
    output = command(["./demo.sh"], tmp_path / "digits", variables)
    assert len(output.splitlines()) <= 15, output
    # The times that an optimisation took are there only when they are long enough to be told.
    assert_shows(re.sub(r", [\d.]+ s$", "", output, flags=re.MULTILINE), block("make demo"))


def test_the_four_commands_do_what_is_printed(tmp_path, variables):
    shown = block("archive init")
    prompts = [place for place, line in enumerate(shown) if line.startswith("$ ")]
    steps = [(shown[place][2:], shown[place + 1 : end]) for place, end in zip(prompts, prompts[1:], strict=False)]
    made = "archive init --template classifier colours && cd colours && python make_checkpoint.py"
    folder = tmp_path
    for line, expected in [(made, shown[: prompts[0]]), *steps]:
        output = command(["sh", "-c", line], folder, variables)
        assert_shows(output, [text for text in expected if "README.md, archive.yaml" not in text])
        folder = tmp_path / "colours"
    assert [line for line, _ in steps] == ["archive create", "archive validate ."]


def test_signing_is_as_printed(tmp_path, variables):
    make_archive(tmp_path, name="colours")
    ann = person(tmp_path, "ann")
    ann.private.rename(tmp_path / "private.pem")
    ann.public.rename(tmp_path / "public.pem")
    shown = block("archive sign")
    assert_shows(command(["archive", "sign", "colours.mar", "--key", "private.pem"], tmp_path, variables), shown[:1])
    assert shown[1] == "$ archive verify colours.mar --key public.pem"
    assert_shows(command(shown[1][2:].split(), tmp_path, variables), shown[2:])


def test_findings_are_as_printed(tmp_path, variables):
    (tmp_path / "model-config.yaml").write_text(BAD_CONFIG)
    arguments = ["archive", "validate", "model-config.yaml"]
    done = subprocess.run(arguments, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert done.returncode == 1
    assert_shows(done.stdout, block("archive validate model-config.yaml"))
