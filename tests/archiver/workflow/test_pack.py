from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from archiver.errors import DamagedArchive, InvalidInput, NotFound, OutputExists, UsageError
from archiver.workflow.archive import open_workflow
from archiver.workflow.pack import pack_workflow

SPEC = "models: {m: {url: m.mar}}\ndag: {before: [m]}\n"
HANDLER = "def before(data, context): return data\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "handler.py").write_text(HANDLER)
    return tmp_path


def packed(folder: Path, *extra: str, force: bool = False) -> Path:
    more = [folder / name for name in extra]
    return pack_workflow("w", folder / "spec.yaml", folder / "handler.py", more, folder / "out", force=force).path


def war(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "/", 1).replace("_json", ".json").replace("_yaml", ".yaml"), content)
    return path


def test_what_is_packed_is_what_is_opened(files):
    (files / "labels.txt").write_text("cat\n")
    path = packed(files, "labels.txt")
    found = open_workflow(path)
    assert (path.name, found.name, found.handler, found.spec.graph.start) == ("w.war", "w", "handler.py", "before")
    with zipfile.ZipFile(path) as file:
        assert file.read("labels.txt") == b"cat\n"


def test_the_same_files_give_the_same_bytes(files):
    first = packed(files).read_bytes()
    assert packed(files, force=True).read_bytes() == first


def test_an_archive_that_is_there_stays(files):
    packed(files)
    with pytest.raises(OutputExists):
        packed(files)


def test_a_function_that_the_handler_does_not_define_is_refused_and_nothing_is_written(files):
    (files / "handler.py").write_text("def after(data, context): return data\n")
    with pytest.raises(InvalidInput) as error:
        packed(files)
    assert [finding.code for finding in error.value.findings] == ["workflow/no-function"]
    assert not (files / "out").exists()


def test_a_handler_that_is_no_python_is_refused_with_its_line(files):
    (files / "handler.py").write_text("def before(\n")
    with pytest.raises(InvalidInput) as error:
        packed(files)
    assert str(error.value.findings[0].where) == f"{files}/handler.py:1:11"


def test_a_file_that_is_not_there_is_named(files):
    with pytest.raises(NotFound, match="there is no file"):
        packed(files, "labels.txt")


def test_two_files_of_one_name_are_refused(files):
    with pytest.raises(UsageError, match="same name"):
        packed(files, "spec.yaml")


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("{", "is no JSON"),
        ("[]", "has no `workflow` mapping"),
        ('{"workflow": {"specFile": "s.yaml"}}', "has no text for `workflow.workflowName`"),
        ('{"workflow": {"workflowName": "w", "specFile": "../s.yaml"}}', "names the file `../s.yaml`, which is not"),
        (
            json.dumps({"workflow": {"workflowName": "w", "specFile": "s.yaml", "handler": "h.py"}}),
            "names the file `h.py`, which is not there",
        ),
    ],
)
def test_a_manifest_that_is_none_is_refused_in_words(tmp_path, manifest, words):
    path = war(tmp_path / "w.war", **{"WAR-INF__MANIFEST_json": manifest, "s_yaml": SPEC})
    with pytest.raises(DamagedArchive) as error:
        open_workflow(path)
    assert words in str(error.value)


def test_an_archive_of_a_model_is_no_workflow(tmp_path):
    with pytest.raises(DamagedArchive, match="is no workflow archive"):
        open_workflow(war(tmp_path / "m.war", **{"MAR-INF__MANIFEST_json": '{"model": {"modelName": "m"}}'}))
