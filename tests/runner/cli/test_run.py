from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from archiver.errors import ArchiveError, InvalidInput, NotFound
from runner.cli.run import run
from tests.runner.handlers.nets import state, write_net

HANDLER = """
import torch
from runner.handlers import BadRequest, Handler


class Sums(Handler):
    def preprocess(self, payload):
        if not isinstance(payload, list):
            raise BadRequest("a list of two numbers, please")
        return torch.tensor(payload, dtype=torch.float32)
"""

ECHO = "def handle(data, context):\n    return [row['body'] for row in data or []]\n"


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(run, [str(argument) for argument in arguments])


def write(folder: Path, **files: str) -> None:
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(textwrap.dedent(content))


def make_project(folder: Path) -> Path:
    project = folder / "project"
    (project / "build").mkdir(parents=True)
    write_net(project)
    torch.save(state(), project / "build" / "w.pt")
    write(project, handler__py=HANDLER, sample__json="[1, 1]")
    write(project, **{"model-config__yaml": "warmup:\n  input: sample.json\n"})
    write(
        project,
        archive__yaml="""
        name: sums
        checkpoint: build/w.pt
        modelFile: net.py
        handler: handler.py
        config: model-config.yaml
        extraFiles: [sample.json]
        """,
    )
    return project


def test_a_handler_file_answers_an_input(tmp_path):
    write(tmp_path, handler__py=ECHO, input__json='{"a": 1}')

    result = invoke(tmp_path / "handler.py", "--input", tmp_path / "input.json")

    assert (result.exit_code, result.stdout) == (0, '{"a":1}\n')


@pytest.mark.parametrize("name", ["", "/handler.py", "/handler.py:Sums"])
def test_a_project_runs_from_its_own_files(tmp_path, name):
    project = make_project(tmp_path)

    result = invoke(f"{project}{name}", "--input", project / "sample.json")

    assert (result.exit_code, result.stdout) == (0, "[2.0,4.0,6.0]\n")


def test_without_an_input_the_declared_sample_is_sent(tmp_path):
    assert invoke(make_project(tmp_path)).stdout == "[2.0,4.0,6.0]\n"


def test_an_archive_runs(tmp_path, monkeypatch):
    from archiver.pack import create
    from archiver.project import from_flags

    monkeypatch.setenv("TORCH_ARCHIVE_CACHE", str(tmp_path / "cache"))
    made = create(from_flags(folder=make_project(tmp_path), export_path=tmp_path))

    assert invoke(made.path).stdout == "[2.0,4.0,6.0]\n"


def test_a_refused_input_is_printed_and_exits_1(tmp_path):
    project = make_project(tmp_path)
    write(tmp_path, input__json='"x"')

    result = invoke(project, "--input", tmp_path / "input.json")

    assert result.exit_code == 1
    assert json.loads(result.stdout)["message"] == "a list of two numbers, please"
    assert "status 400" in result.stderr


def test_the_content_type_can_be_named_and_bytes_come_out_as_bytes(tmp_path):
    write(tmp_path, handler__py=ECHO, input__bin='"x"')

    assert invoke(tmp_path / "handler.py", "--input", tmp_path / "input.bin").stdout_bytes == b'"x"'
    as_text = invoke(tmp_path / "handler.py", "--input", tmp_path / "input.bin", "--content-type", "text/plain")
    assert as_text.stdout == '"x"\n'


def test_repeated_requests_are_timed(tmp_path):
    write(tmp_path, handler__py=ECHO, input__json="1")

    result = invoke(tmp_path / "handler.py", "--input", tmp_path / "input.json", "--repeat", 5)

    assert result.stdout == "1\n"
    assert result.stderr.startswith("5 requests: median ")


def test_another_config_can_be_tried(tmp_path):
    source = "def handle(data, context):\n    return [context.system_properties['batch_size'] for _ in data or []]\n"
    write(tmp_path, handler__py=source, input__json="1", other__yaml="batchSize: 7\n")

    arguments = (tmp_path / "handler.py", "--input", tmp_path / "input.json", "--config", tmp_path / "other.yaml")

    assert invoke(*arguments).stdout == "7\n"


def test_the_handlers_own_traceback_is_shown(tmp_path, capfd):
    write(tmp_path, handler__py="def handle(data, context):\n    return 1 / 0\n", input__json="1")

    result = invoke(tmp_path / "handler.py", "--input", tmp_path / "input.json")

    assert result.exit_code == 1
    assert f'File "{tmp_path}/handler.py", line 2, in handle' in result.stderr
    assert "return 1 / 0" in result.stderr
    assert "ZeroDivisionError" in result.stderr


def test_a_package_that_the_handler_misses_is_its_own_traceback(tmp_path):
    write(tmp_path, handler__py="import transformers_of_nobody\n", input__json="1")

    result = invoke(tmp_path / "handler.py", "--input", tmp_path / "input.json")

    assert result.exit_code == 1
    assert "No module named 'transformers_of_nobody'" in result.stderr


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\n", "handler.py defines no handler: it needs a function `handle` or a class with one"),
        (
            "def handle(data, context):\n    return {}\n",
            "Invalid model predict output: handle() returned a dict, not a list",
        ),
    ],
)
def test_what_is_no_answer_is_an_error_in_one_sentence(tmp_path, source, message):
    write(tmp_path, handler__py=source, input__json="1")

    error = invoke(tmp_path / "handler.py", "--input", tmp_path / "input.json").exception

    assert isinstance(error, ArchiveError)
    assert str(error) == message


def test_no_input_at_all_says_how_to_give_one(tmp_path):
    write(tmp_path, handler__py=ECHO)

    error = invoke(tmp_path / "handler.py").exception

    assert isinstance(error, ArchiveError)
    assert error.hint is not None and error.hint.startswith("--input FILE")


def test_what_does_not_exist_is_said(tmp_path):
    assert isinstance(invoke(tmp_path / "gone.mar").exception, NotFound)


def test_a_project_whose_checkpoint_is_missing_has_findings(tmp_path):
    project = make_project(tmp_path)
    (project / "build" / "w.pt").unlink()

    assert isinstance(invoke(project).exception, InvalidInput)


def test_a_breakpoint_in_the_handler_talks_to_the_terminal(tmp_path):
    write(
        tmp_path,
        handler__py="def handle(data, context):\n    if data:\n        breakpoint()\n    return data or []\n",
    )
    write(tmp_path, input__json="1")
    command = [
        sys.executable,
        "-m",
        "archiver",
        "run",
        str(tmp_path / "handler.py"),
        "--input",
        str(tmp_path / "input.json"),
    ]

    done = subprocess.run(command, input="p data\ncontinue\n", capture_output=True, text=True, check=False)

    assert "[{'body': 1}]" in done.stdout
    assert done.returncode == 0, done.stderr


def test_requirements_that_are_not_installed_are_named(tmp_path: Path) -> None:
    write(tmp_path, handler__py="import no_such_thing\n", more__txt="no-such-thing\n", input__txt="x")
    write(tmp_path, archive__yaml="name: gift\nhandler: handler.py\nrequirements: more.txt\n")
    result = invoke(tmp_path, "--input", tmp_path / "input.txt")
    assert result.exit_code == 1
    assert "more.txt asks for what is not installed here: no-such-thing; `pip install -r more.txt`" in result.output
