"""`archive profile` as it is typed: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from archiver.cli import main
from tests.e2e.servers import archive_command
from tests.runner.profile.models import lines, tokens_model


def profile(folder, *arguments):
    """In `folder`, without trying changes: that is tested in `test_trying`."""
    return archive_command("profile", "m", "--no-try", "--batches", "2", *arguments, cache=folder / "c", cwd=folder)


def refused(*arguments):
    """In this process: it ends before a model is loaded."""
    return CliRunner().invoke(main, ["profile", *map(str, arguments)])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A profile of rows of two lengths, and its folder."""
    folder = tmp_path_factory.mktemp("profile")
    tokens_model(folder / "m")
    found = profile(folder, "-i", str(lines(folder / "rows.jsonl")), "--json")
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout), folder / "m-profile", found.stderr


def test_the_figures_are_printed_and_the_files_named(done):
    printed, folder, told = done
    assert {file.name for file in folder.iterdir()} == {"profile.json", "profile.html", "profile.txt", "trace.json"}
    assert printed == json.loads((folder / "profile.json").read_text())
    assert f"{folder.name}/trace.json" in told


def test_padding_is_counted_and_measured(done):
    printed, _, _ = done
    padding = printed["figures"]["padding"]
    assert padding["tokens"] == 3 / 8 and padding["measured"]


def test_the_trace_has_a_range_for_each_batch_stage_and_module(done):
    _, folder, _ = done
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    ranges = [each["name"] for each in events if each.get("cat") == "user_annotation"]
    counted = {name: ranges.count(name) for name in ("batch", "preprocess", "collate", "forward", "out Linear")}
    assert counted == {"batch": 2, "preprocess": 8, "collate": 2, "forward": 2, "out Linear": 2}


def test_changes_that_nobody_tried_are_estimated(done):
    printed, _, _ = done
    assert printed["tried"] and all(each["gain"] is None for each in printed["tried"])


def test_what_is_sent_stands_for_a_sample_that_the_archive_lacks(done):
    printed, _, _ = done
    assert any("names no sample" in note and "warmup: {input: sample.json}" in note for note in printed["notes"])


def test_an_archive_without_a_sample_says_how_to_give_one(tmp_path):
    found = refused(tokens_model(tmp_path / "m"))
    assert found.exit_code == 1
    assert found.stderr.startswith("error: the archive has no sample to send\n\nhint: name one: --input FILE")


def test_more_rows_than_the_archives_batches_are_refused_with_2(tmp_path):
    found = refused(tokens_model(tmp_path / "m"), "--batch-size", "5")
    assert found.exit_code == 2
    assert "error: --batch-size 5: the model is served in batches of at most 4" in found.stderr
    assert "hint: --set batchSize=5" in found.stderr


def test_an_input_that_the_handler_refuses_is_told_and_nothing_is_written(tmp_path):
    tokens_model(tmp_path / "m")
    (tmp_path / "rows.jsonl").write_text('[1, 2]\n"words"\n')
    found = profile(tmp_path, "-i", "rows.jsonl")
    assert found.returncode == 1 and "Traceback" not in found.stderr
    assert "error: the handler answered 400 to an input" in found.stderr
    assert not (tmp_path / "m-profile").exists()


def test_a_first_input_that_the_handler_refuses_cannot_stand_for_a_sample(tmp_path):
    tokens_model(tmp_path / "m", sample__json='"words"')
    found = profile(tmp_path, "-i", "m/sample.json")
    assert found.returncode == 1 and "Traceback" not in found.stderr
    assert "the handler answered 400 to the sample (warmup.input)" in found.stderr


def test_what_was_measured_is_printed_where_the_folder_cannot_be_written(tmp_path):
    tokens_model(tmp_path / "m", sample__json="[1, 2]")
    (tmp_path / "file").touch()
    found = profile(tmp_path, "-i", "m/sample.json", "-o", "file")
    assert found.returncode == 1
    assert "rows/s" in found.stdout and found.stderr.startswith("error: cannot write the report to file")
    assert "hint: -o DIR" in found.stderr
