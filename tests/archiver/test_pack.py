from __future__ import annotations

import os
import resource
import subprocess
from dataclasses import replace

import pytest

from archiver.archive import Archive
from archiver.containers.formats import FORMATS
from archiver.errors import ArchiveError, CannotWrite, InvalidInput, OutputExists, UsageError
from archiver.pack import create
from tests.builders import HANDLER, make_project, safetensors, write


def _left(folder):
    """What lies beside the sources."""
    return sorted(path.name for path in folder.iterdir() if path.name != "src")


def test_an_archive_holds_every_file_with_size_digest_and_role(tmp_path):
    summary = create(make_project(tmp_path, checkpoint=safetensors(100), extra={"deep/labels.txt": "cat"}))
    with Archive.open(summary.path) as archive:
        assert {member.name: member.role for member in archive.members} == {
            "MAR-INF/MANIFEST.json": "manifest",
            "MAR-INF/sbom.cdx.json": "sbom",
            "deep/labels.txt": "extra",
            "handler.py": "handler",
            "model-config.yaml": "config",
            "model.safetensors": "weights",
        }
        assert archive.read("handler.py").decode() == HANDLER
        assert archive.verify() == []
        assert archive.claimed_digest == archive.digest == summary.digest


def test_the_summary_says_what_was_made(tmp_path):
    summary = create(make_project(tmp_path, checkpoint=safetensors()))
    assert summary.path == tmp_path / "echo.mar"
    assert summary.size == summary.path.stat().st_size
    assert summary.config_keys == ("minWorkers", "maxWorkers", "batchSize")
    assert [file.format for file in summary.manifest.files if file.role == "weights"] == ["safetensors"]


def test_the_manifest_says_what_it_was_built_with(tmp_path):
    build = create(make_project(tmp_path)).manifest.build
    assert build["tool"].startswith("torch-archive ")
    assert build["python"].count(".") == 2


def test_the_manifest_says_the_commit_and_whether_it_was_changed(tmp_path):
    project = make_project(tmp_path, extra={"notes.txt": "1"})
    project = replace(project, base=tmp_path / "src")
    git = ["git", "-C", str(tmp_path / "src"), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert create(project).manifest.build["gitCommit"] == commit
    write(tmp_path / "src" / "handler.py", HANDLER + "\n")
    assert create(project, force=True).manifest.build["gitCommit"] == f"{commit}-dirty"


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        ("handler.py", ("handler.py", None)),
        ("handler", ("handler.py", None)),
        ("handler.py:Echo", ("handler.py", "Echo")),
        ("handler.py:serve", ("handler:serve", None)),
        ("handler:serve", ("handler:serve", None)),
    ],
)
def test_the_handler_is_written_as_torchserve_understands_it(tmp_path, handler, expected):
    text = HANDLER + "\ndef serve(data, context):\n    return data\n"
    manifest = create(make_project(tmp_path, handler=handler, handler_text=text)).manifest
    assert (manifest.handler, manifest.handler_class) == expected


@pytest.mark.parametrize("archive_format", FORMATS)
def test_every_format_holds_the_same_content(tmp_path, archive_format):
    project = make_project(tmp_path, checkpoint=safetensors(70_000), archive_format=archive_format)
    summary = create(project)
    with Archive.open(summary.path) as archive:
        assert (
            archive.digest
            == summary.digest
            == create(make_project(tmp_path / "b", checkpoint=safetensors(70_000))).digest
        )


@pytest.mark.parametrize("archive_format", ["default", "tgz"])
def test_the_same_inputs_give_the_same_bytes(tmp_path, monkeypatch, archive_format):
    def build(folder, umask, zone):
        monkeypatch.setenv("TZ", zone)
        old = os.umask(umask)
        try:
            project = make_project(folder, checkpoint=safetensors(70_000), extra={"b": "2", "a": "1"})
            os.utime(folder / "src" / "handler.py", (umask, umask))
            return create(replace(project, archive_format=archive_format)).path.read_bytes()
        finally:
            os.umask(old)

    assert build(tmp_path / "one", 0o022, "UTC") == build(tmp_path / "two", 0o077, "Asia/Tokyo")


def test_source_date_epoch_is_the_time_of_creation(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1742210457")
    assert create(make_project(tmp_path)).manifest.created_on == "17/03/2025 11:20:57"


def test_a_wrong_source_date_epoch_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "now")
    with pytest.raises(UsageError):
        create(make_project(tmp_path))
    assert _left(tmp_path) == []


def test_an_archive_that_is_there_is_kept_without_force(tmp_path):
    write(tmp_path / "echo.mar", "older")
    with pytest.raises(OutputExists):
        create(make_project(tmp_path))
    assert (tmp_path / "echo.mar").read_text() == "older"
    create(make_project(tmp_path), force=True)
    assert (tmp_path / "echo.mar").read_bytes().startswith(b"PK")


def test_force_replaces_a_folder_archive_but_no_other_folder(tmp_path):
    project = make_project(tmp_path, archive_format="no-archive")
    create(project)
    write(tmp_path / "echo" / "stray.txt", "x")
    create(project, force=True)
    assert not (tmp_path / "echo" / "stray.txt").exists()
    write(tmp_path / "mine" / "thesis.txt", "x")
    with pytest.raises(ArchiveError, match="is a folder that is no archive; it is not replaced"):
        create(replace(project, name="mine"), force=True)
    assert _left(tmp_path) == ["echo", "mine"]


def test_errors_of_the_checks_stop_it_before_anything_is_written(tmp_path):
    with pytest.raises(InvalidInput) as error:
        create(make_project(tmp_path, handler_text="class A(", config="batchSize: eight\n"))
    assert [finding.code for finding in error.value.findings][0] == "handler/syntax"
    assert len(error.value.findings) == 2
    assert error.value.hint == "--no-check packs it anyway"
    assert _left(tmp_path) == []


def test_without_checks_their_errors_are_warnings(tmp_path):
    project = make_project(tmp_path, handler_text="class A(", config="batchSize: eight\n")
    summary = create(project, checks=False)
    assert [finding.severity.value for finding in summary.warnings] == ["warning", "warning"]
    assert summary.path.exists()


def test_without_checks_a_missing_file_is_still_an_error(tmp_path):
    project = make_project(tmp_path)
    (tmp_path / "src" / "model-config.yaml").unlink()
    with pytest.raises(InvalidInput) as error:
        create(project, checks=False)
    assert error.value.hint is None


@pytest.mark.parametrize("archive_format", FORMATS)
@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_create_leaves_no_archive_and_keeps_the_older_one(tmp_path, archive_format, failure):
    project = make_project(tmp_path, archive_format=archive_format, checkpoint=safetensors(70_000))
    older = create(project).digest

    class Broken:
        def __enter__(self):
            return self.advance

        def __exit__(self, *_):
            return None

        def advance(self, _):
            raise failure

    before = _left(tmp_path)
    with pytest.raises(failure):
        create(project, force=True, progress=lambda *_: Broken())
    assert _left(tmp_path) == before
    with Archive.open(project.target) as archive:
        assert archive.digest == older


@pytest.mark.parametrize("archive_format", FORMATS)
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, archive_format):
    project = make_project(tmp_path, archive_format=archive_format, checkpoint=os.urandom(200_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(CannotWrite, match=f"cannot write {project.target}: File too large"):
            create(project)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _left(tmp_path) == []


def test_an_export_path_is_made_and_one_that_is_a_file_is_said(tmp_path):
    project = make_project(tmp_path)
    assert create(replace(project, export_path=tmp_path / "a" / "b")).path.exists()
    write(tmp_path / "file", "x")
    with pytest.raises(CannotWrite, match="cannot write"):
        create(replace(project, export_path=tmp_path / "file"))


def test_a_source_that_changes_while_it_is_packed_is_said(tmp_path):
    project = make_project(tmp_path, checkpoint=safetensors(70_000))

    class Growing:
        def __enter__(self):
            with (tmp_path / "src" / "model.safetensors").open("ab") as file:
                file.write(b"more")
            return lambda _: None

        def __exit__(self, *_):
            return None

    with pytest.raises(ArchiveError, match="changed while it was being packed"):
        create(project, progress=lambda *_: Growing())
    assert _left(tmp_path) == []


def test_progress_counts_every_byte(tmp_path):
    seen = []

    class Counting:
        def __init__(self, what, total):
            seen.append(total)

        def __enter__(self):
            return lambda count: seen.append(-count)

        def __exit__(self, *_):
            return None

    create(make_project(tmp_path, checkpoint=safetensors(9_000_000)), progress=Counting)
    assert sum(seen) == 0
    assert len(seen) > 4


def test_the_archive_is_readable_as_the_umask_says(tmp_path):
    path = create(make_project(tmp_path)).path
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_without_checks_a_handler_that_does_not_parse_keeps_its_entry_as_torchserve_reads_it(tmp_path):
    project = make_project(tmp_path, handler="handler.py:Echo", handler_text="class Echo(")
    assert create(project, checks=False).manifest.handler == "handler:Echo"


def test_the_manifest_fits_its_schema(tmp_path):
    import jsonschema

    from archiver.config.schema import load

    manifest = create(make_project(tmp_path, handler="handler.py:Echo", checkpoint=safetensors())).manifest
    jsonschema.Draft202012Validator(load("manifest")).validate(manifest.to_json())
