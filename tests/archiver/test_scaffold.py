"""`archive init`'s work: a template becomes a project."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from archiver.errors import CannotWrite, NotFound
from archiver.resources import resource
from archiver.scaffold import NotEmpty, explained, project_name, scaffold, templates

SCHEMA_LINE = re.compile(r"^# yaml-language-server: \$schema=(\S+)$", re.MULTILINE)


def test_the_templates_are_the_ones_that_the_command_offers():
    assert templates() == ["classifier", "custom", "embedder", "text"]


@pytest.mark.parametrize("template", templates())
def test_a_template_is_written_whole_and_in_order(tmp_path, template):
    written = scaffold(template, tmp_path / "project")
    on_disk = [path for path in (tmp_path / "project").rglob("*") if path.is_file() and ".schemas" not in path.parts]
    assert list(written.files) == sorted(path.relative_to(tmp_path / "project").as_posix() for path in on_disk)
    assert {"archive.yaml", "model-config.yaml", "handler.py", "sample.json", "test_handler.py"} <= set(written.files)


@pytest.mark.parametrize("template", templates())
def test_the_project_is_named_after_its_folder_everywhere(tmp_path, template):
    written = scaffold(template, tmp_path / "sea ice")
    texts = {name: (tmp_path / "sea ice" / name).read_text(encoding="utf-8") for name in written.files}
    assert written.name == "sea-ice"
    assert "\nname: sea-ice\n" in texts["archive.yaml"]
    assert "PROJECT_NAME" not in "".join(texts.values())


@pytest.mark.parametrize("template", templates())
def test_the_schema_that_a_yaml_file_points_to_is_the_shipped_one(tmp_path, template):
    scaffold(template, tmp_path)
    for file in ("archive.yaml", "model-config.yaml"):
        (target,) = SCHEMA_LINE.findall((tmp_path / file).read_text(encoding="utf-8"))
        shipped = resource("schemas", target.rpartition("/")[2])
        assert (tmp_path / target).read_bytes() == shipped.read_bytes()


@pytest.mark.parametrize("template", templates())
def test_every_key_of_the_config_is_explained_by_its_schema(tmp_path, template):
    scaffold(template, tmp_path)
    schema = json.loads(resource("schemas", "model-config.schema.json").read_text(encoding="utf-8"))
    text = (tmp_path / "model-config.yaml").read_text(encoding="utf-8")
    keys = re.findall(r"^(\w+):", text, re.MULTILINE)
    comments = re.sub(r"\s*\n# ", " ", text)
    assert keys
    assert all(schema["properties"][key]["description"] in comments for key in keys)


def test_explanations_stand_above_their_key_and_leave_everything_else_alone():
    config = "# top\nbatchSize: 4\nown:\n  batchSize: 5\n"
    assert explained(config, {"batchSize": "Most requests."}) == (
        "# top\n\n# Most requests.\nbatchSize: 4\nown:\n  batchSize: 5\n"
    )


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(NotEmpty, match="is not empty") as raised:
        scaffold("classifier", tmp_path)
    assert raised.value.hint == "choose another folder, or add --force to write into it all the same"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_with_force_other_files_stay(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "handler.py").write_text("old")
    scaffold("classifier", tmp_path, force=True)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert (tmp_path / "handler.py").read_text() != "old"


def test_an_unknown_template_lists_those_that_exist(tmp_path):
    with pytest.raises(NotFound, match="there is no template `vision`") as raised:
        scaffold("vision", tmp_path / "project")
    assert raised.value.hint == "templates: classifier, custom, embedder, text"
    assert not (tmp_path / "project").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "project"
    with pytest.raises(CannotWrite, match=re.escape(f"cannot write {target}: not a directory")):
        scaffold("classifier", target)


@pytest.mark.parametrize(
    ("folder", "name"),
    [("a", "a"), ("My Model!", "My-Model"), (".hidden", "hidden"), ("v1.2_x", "v1.2_x"), ("日本", "")],
)
def test_the_project_name_is_one_that_an_archive_may_have(tmp_path, folder, name):
    assert project_name(tmp_path / folder) == name


def test_the_folder_itself_can_be_named_by_a_dot(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert scaffold("custom", Path()).name == "here"
