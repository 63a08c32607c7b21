"""`runner.testing`: what a project's own tests stand on."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from archiver.errors import InvalidInput
from runner.testing import Refused, model_of

ECHO = """
from runner.handlers import BadRequest, Handler

class Echo(Handler):
    def load_model(self):
        return None
    def preprocess(self, payload):
        if payload == "bad":
            raise BadRequest("no such thing")
        return payload
    def collate(self, items):
        return items
    def inference(self, batch):
        return batch
"""


def project(folder: Path, handler: str = ECHO, **files: str) -> Path:
    """A project of a handler alone; its config and other files by name, `__` for the dot."""
    folder.mkdir()
    files = {"archive__yaml": 'name: echo\nversion: "1.0"\nhandler: handler.py\n', **files}
    for name, text in {"handler__py": handler, **files}.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_json_text_and_bytes_arrive_as_a_client_would_send_them(tmp_path):
    with model_of(project(tmp_path / "p")) as model:
        assert model.predict({"a": [1, None]}) == {"a": [1, None]}
        assert model.predict("ä") == "ä"
        assert model.predict(b"\xff") == b"\xff"


def test_one_bad_row_of_a_batch_is_refused_alone(tmp_path):
    with model_of(project(tmp_path / "p")) as model:
        first, second, third = model.batch(["a", "bad", "c"])
    assert (first, third) == ("a", "c")
    assert (second.status, second.message) == (400, "no such thing")


def test_a_refused_request_raises_when_it_is_the_only_one(tmp_path):
    with model_of(project(tmp_path / "p")) as model, pytest.raises(Refused, match="^400: no such thing$"):
        model.predict("bad")


def test_a_plain_archive_folder_can_be_loaded_too(tmp_path):
    from dataclasses import replace

    from archiver.pack import create
    from archiver.project import load_project

    found = replace(load_project(project(tmp_path / "p")), export_path=tmp_path, archive_format="no-archive")
    with model_of(create(found).path) as model:
        assert model.predict("x") == "x"


def test_what_the_handler_raises_at_load_passes_as_it_is(tmp_path):
    broken = ECHO.replace("return None", "raise LookupError('no weights')")
    with pytest.raises(LookupError, match="no weights"), model_of(project(tmp_path / "p", broken)):
        pytest.fail("it must not load")


def test_a_config_with_errors_is_refused_before_anything_runs(tmp_path):
    yaml = 'name: echo\nversion: "1.0"\nhandler: handler.py\nconfig: c.yaml\n'
    folder = project(tmp_path / "p", archive__yaml=yaml, c__yaml="batchSize: eight\n")
    with pytest.raises(InvalidInput), model_of(folder):
        pytest.fail("it must not load")


def test_the_process_is_given_back_as_it_was(tmp_path):
    before = Path.cwd(), list(sys.path), dict(os.environ)
    with model_of(project(tmp_path / "p")):
        assert Path.cwd() != before[0]
        assert "handler" in sys.modules
    assert (Path.cwd(), list(sys.path), dict(os.environ)) == before
    assert "handler" not in sys.modules


def test_two_projects_may_have_files_of_the_same_name(tmp_path):
    shout = ECHO.replace("return batch", "return [text.upper() for text in batch]")
    answers = []
    for name, handler in (("one", ECHO), ("two", shout)):
        with model_of(project(tmp_path / name, handler)) as model:
            answers.append(model.predict("hello"))
    assert answers == ["hello", "HELLO"]
