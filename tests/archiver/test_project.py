from __future__ import annotations

import pytest

from archiver.errors import InvalidInput, NotFound, UsageError
from archiver.project import candidates, from_flags, load_project
from tests.builders import safetensors, write


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a handler, a model file and weights."""
    write(tmp_path / "handler.py", "def handle(data, context): ...\n")
    write(tmp_path / "model.py", "class Net: ...\n")
    write(tmp_path / "digits.safetensors", safetensors())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _project_file(folder, text):
    write(folder / "archive.yaml", text)
    return load_project(folder)


def test_name_and_version_are_inferred(folder):
    project = from_flags(serialized_file="digits.safetensors", handler="handler.py")
    assert (project.name, project.version) == ("digits", "1.0")
    assert project.target == folder / "digits.mar"
    assert project.inferred == {"name": "digits.safetensors", "version": "default"}


def test_without_a_checkpoint_the_name_is_the_handlers(folder):
    assert from_flags(handler="handler.py").name == "handler"


@pytest.mark.parametrize(
    ("archive_format", "target"),
    [("default", "d.mar"), ("zip-store", "d.mar"), ("tgz", "d.tar.gz"), ("no-archive", "d")],
)
def test_the_target_of_each_format(folder, archive_format, target):
    project = from_flags(model_name="d", handler="handler.py", archive_format=archive_format, export_path="out")
    assert project.target == folder / "out" / target


@pytest.mark.parametrize(
    ("handler", "file", "entry"),
    [
        ("handler.py", "handler.py", None),
        ("handler", "handler.py", None),
        ("handler.py:Digits", "handler.py", "Digits"),
        ("handler:handle", "handler.py", "handle"),
        ("image_classifier", None, None),
    ],
)
def test_the_ways_to_name_a_handler(folder, handler, file, entry):
    found = from_flags(model_name="d", handler=handler).handler
    assert (found.file.text if found.file else None, found.entry) == (file, entry)


def test_weights_with_a_model_file_need_no_handler(folder):
    project = from_flags(serialized_file="digits.safetensors", model_file="model.py")
    assert (project.handler.text, project.handler.file) == ("base_handler", None)


def test_bare_weights_need_a_handler(folder):
    with pytest.raises(UsageError, match="--handler is missing"):
        from_flags(serialized_file="digits.safetensors")


@pytest.mark.parametrize("name", ["", "-x", "a b", "../x", "a/b", "é"])
def test_a_name_that_torchserve_would_refuse_is_refused(folder, name):
    with pytest.raises(UsageError, match="model name|missing"):
        from_flags(model_name=name or "_", handler="handler.py")


def test_unknown_formats_and_runtimes_are_refused_with_what_there_is(folder):
    with pytest.raises(UsageError, match=r"unknown format 'rar'; there are default, zip-store, tgz, no-archive"):
        from_flags(model_name="d", handler="handler.py", archive_format="rar")
    with pytest.raises(UsageError, match=r"unknown runtime 'perl'; there are python, python3, LSP"):
        from_flags(model_name="d", handler="handler.py", runtime="perl")


def test_an_archive_yaml_says_everything(folder):
    write(folder / "model-config.yaml", "batchSize: 2\n")
    write(folder / "sample.json", "{}")
    project = _project_file(
        folder,
        "name: net\nversion: '2.0'\ndescription: A net.\ncheckpoint: digits.safetensors\nmodelFile: model.py\n"
        "handler: handler.py\nconfig: model-config.yaml\nsamples: [sample.json]\nextraFiles: [archive.yaml]\n"
        "format: tgz\nruntime: python3\nexportPath: dist\n",
    )
    assert (project.name, project.version, project.description) == ("net", "2.0", "A net.")
    assert project.target == folder / "dist" / "net.tar.gz"
    members, findings = candidates(project)
    assert findings == []
    assert {member.name: member.role for member in members} == {
        "handler.py": "handler",
        "model.py": "model",
        "digits.safetensors": "weights",
        "model-config.yaml": "config",
        "sample.json": "sample",
        "archive.yaml": "extra",
    }


def test_paths_in_an_archive_yaml_start_at_its_folder(folder, tmp_path_factory, monkeypatch):
    write(folder / "archive.yaml", "handler: handler.py\nname: d\n")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    project = load_project(folder)
    assert project.handler.file.path == folder / "handler.py"
    assert project.target == folder / "d.mar"


def test_flags_replace_what_archive_yaml_says(folder):
    write(folder / "archive.yaml", "handler: handler.py\nname: d\nversion: '1.0'\n")
    project = from_flags(folder=folder, version="2.0")
    assert (project.name, project.version) == ("d", "2.0")


def test_a_wrong_archive_yaml_is_refused_with_line_and_hint(folder):
    with pytest.raises(InvalidInput) as error:
        _project_file(folder, "name: d\nhandlr: handler.py\nversion: 1.10\n")
    found = {(finding.where.line, finding.code) for finding in error.value.findings}
    assert {line for line, _ in found} == {2, 3}


def test_a_folder_without_archive_yaml_is_no_project(tmp_path):
    with pytest.raises(NotFound, match=r"has no archive\.yaml"):
        load_project(tmp_path)


def test_every_missing_file_is_a_finding(folder):
    project = from_flags(
        model_name="d",
        handler="handlr.py",
        serialized_file="d.pt",
        model_file="m.py",
        config_file="c.yaml",
        requirements_file="r.txt",
        extra_files="x,y",
    )
    messages = [str(finding) for finding in candidates(project)[1]]
    assert messages == [
        "handlr.py: error: the handler does not exist [project/missing-file]",
        "m.py: error: the model file does not exist [project/missing-file]",
        "d.pt: error: the checkpoint does not exist [project/missing-file]",
        "c.yaml: error: the config file does not exist [project/missing-file]",
        "r.txt: error: the requirements file does not exist [project/missing-file]",
        "x: error: the extra file does not exist [project/missing-file]",
        "y: error: the extra file does not exist [project/missing-file]",
    ]


def test_an_archive_is_not_packed_into_itself(folder):
    project = from_flags(model_name="d", handler="handler.py", extra_files=".")
    write(project.target, "an older archive")
    assert "d.mar" not in {member.name for member in candidates(project)[0]}
