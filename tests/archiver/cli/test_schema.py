"""`archive schema` prints what ships."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from archiver.cli import main
from archiver.config.schema import load, names
from archiver.pack import create
from archiver.project import from_flags


@pytest.mark.parametrize("name", names())
def test_a_schema_is_printed_as_it_ships(name: str) -> None:
    result = CliRunner().invoke(main, ["schema", name])

    assert result.exit_code == 0
    assert json.loads(result.stdout)["$id"] == f"urn:torch-archive:schema:{name}"


def test_the_model_config_is_the_usual_one() -> None:
    result = CliRunner().invoke(main, ["schema"])

    assert json.loads(result.stdout)["title"] == "model-config.yaml"


def test_the_path_is_that_of_a_file_that_an_editor_can_open() -> None:
    result = CliRunner().invoke(main, ["schema", "project", "--path"])

    assert json.loads(Path(result.stdout.strip()).read_text(encoding="utf-8"))["title"] == "archive.yaml"


def test_an_unknown_schema_is_a_wrong_command_line_that_lists_the_known_ones() -> None:
    result = CliRunner().invoke(main, ["schema", "modelconfig"])

    assert result.exit_code == 2
    assert "model-config" in result.stderr


def test_the_manifest_of_an_archive_made_here_has_the_shape_that_the_schema_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("handler.py").write_text("def handle(data, context):\n    return data\n")
    project = from_flags(model_name="m", version="1", handler="handler.py:handle")
    with zipfile.ZipFile(create(project).path) as archive:
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))

    Draft202012Validator(load("manifest")).validate(manifest)
    assert set(manifest) <= set(load("manifest")["properties"])
    assert set(manifest["model"]) <= set(load("manifest")["properties"]["model"]["properties"])


def test_a_manifest_made_by_torchserves_archiver_has_it_too() -> None:
    model = {"modelName": "m", "handler": "image_classifier", "modelVersion": "1.0", "serializedFile": "m.pt"}
    manifest = {"createdOn": "17/03/2025 11:20:57", "runtime": "python", "model": model, "archiverVersion": "0.12.0"}

    Draft202012Validator(load("manifest")).validate(manifest)
