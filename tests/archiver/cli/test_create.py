from __future__ import annotations

import json

import pytest

from archiver.archive import Archive
from tests.archiver.cli.archives import archive
from tests.builders import CONFIG, HANDLER, safetensors, write


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The working directory of somebody with a trained model."""
    write(tmp_path / "handler.py", HANDLER)
    write(tmp_path / "model.py", "class Net: ...\n")
    write(tmp_path / "digits.safetensors", safetensors())
    write(tmp_path / "model-config.yaml", CONFIG)
    write(tmp_path / "requirements.txt", "numpy\n")
    write(tmp_path / "assets" / "labels.txt", "cat\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_flag_of_torch_model_archiver_is_taken(project):
    result = archive(
        *("create", "--model-name", "net", "--serialized-file", "digits.safetensors", "--model-file", "model.py"),
        *("--handler", "handler.py", "--extra-files", "assets/labels.txt,assets", "--runtime", "python3"),
        *("--export-path", "dist", "--archive-format", "zip-store", "--force", "--version", "2.0"),
        *("--requirements-file", "requirements.txt", "--config-file", "model-config.yaml"),
    )
    assert (result.exit_code, result.stderr) == (0, "")
    with Archive.open(project / "dist" / "net.mar") as packed:
        manifest = packed.manifest
        assert {member.name for member in packed.members} >= {"labels.txt", "assets/labels.txt", "requirements.txt"}
    assert (manifest.model_name, manifest.model_version, manifest.runtime) == ("net", "2.0", "python3")
    assert (manifest.serialized_file, manifest.model_file) == ("digits.safetensors", "model.py")
    assert (manifest.config_file, manifest.requirements_file) == ("model-config.yaml", "requirements.txt")


def test_the_short_flags_are_taken(project):
    write(project / "net.mar", "older")
    flags = ("-f", "-v", "3", "-r", "requirements.txt", "-c", "model-config.yaml")
    result = archive("create", "--model-name", "net", "--handler", "handler.py", *flags)
    assert result.exit_code == 0
    with Archive.open(project / "net.mar") as packed:
        assert packed.manifest.model_version == "3"


def test_the_summary_says_file_size_digest_time_and_content(project):
    result = archive(
        "create", "--serialized-file", "digits.safetensors", "--handler", "handler.py:Echo", "-c", "model-config.yaml"
    )
    lines = result.stdout.splitlines()
    assert lines[0] == "digits.mar  3 files"
    facts = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines[1:]}
    assert facts["model"] == "digits 1.0"
    assert facts["handler"] == "handler.py:Echo"
    assert facts["weights"] == "digits.safetensors (safetensors, 134 B)"
    assert facts["config"] == "minWorkers, maxWorkers, batchSize"
    assert facts["files"] == "digits.safetensors, handler.py, model-config.yaml"
    assert facts["digest"].startswith("sha256:")
    assert set(facts) >= {"size", "time"}


def test_the_summary_as_json(project):
    summary = json.loads(archive("create", "--handler", "handler.py", "--json").stdout)
    assert summary["manifest"]["model"]["modelName"] == "handler"
    assert summary["size"] == (project / "handler.mar").stat().st_size


def test_a_folder_with_an_archive_yaml_needs_no_flags(project):
    write(project / "archive.yaml", "name: net\ncheckpoint: digits.safetensors\nhandler: handler.py\n")
    assert archive("create").exit_code == 0
    assert (project / "net.mar").exists()


def test_a_folder_can_be_named(project, tmp_path_factory, monkeypatch):
    write(project / "archive.yaml", "name: net\nhandler: handler.py\n")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert archive("create", project, "--version", "7").exit_code == 0
    with Archive.open(project / "net.mar") as packed:
        assert packed.manifest.model_version == "7"


def test_findings_are_printed_with_their_place_and_nothing_is_written(project):
    write(project / "handler.py", "x = 1\n")
    result = archive("create", "--handler", "handler.py")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "handler.py: error: has no class and no function `handle` [handler/no-entry-point]\n"
        "error: 1 error; nothing was written\n"
        "\n"
        "hint: --no-check packs it anyway\n"
    )
    assert not (project / "handler.mar").exists()


def test_no_check_makes_warnings_of_them(project):
    write(project / "handler.py", "x = 1\n")
    result = archive("create", "--handler", "handler.py", "--no-check")
    assert result.exit_code == 0
    assert result.stderr == "handler.py: warning: has no class and no function `handle` [handler/no-entry-point]\n"


def test_clashing_names_show_both_sources(project):
    write(project / "other" / "labels.txt", "dog\n")
    result = archive("create", "--handler", "handler.py", "--extra-files", "assets/.,other/.", "--no-check")
    assert result.exit_code == 1
    assert f"`{project}/assets/labels.txt` and `{project}/other/labels.txt`" in result.stderr


def test_without_anything_to_pack_it_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = archive("create")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --handler is missing\n\nhint: --handler FILE.py")


def test_an_archive_that_is_there_is_kept(project):
    write(project / "net.mar", "older")
    result = archive("create", "--model-name", "net", "--handler", "handler.py")
    assert result.exit_code == 1
    assert result.stderr == f"error: {project}/net.mar already exists\n\nhint: add --force to replace it\n"
