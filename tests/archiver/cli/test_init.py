"""The command `archive init`: what it prints, and its exit codes."""

from __future__ import annotations

from click.testing import CliRunner, Result

from archiver.cli import main


def init(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["init", *map(str, arguments)])


def test_it_prints_the_commands_that_lead_to_an_answer(tmp_path):
    folder = tmp_path / "sea ice"
    result = init("--template", "text", folder)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"  cd '{folder}'",
        "  python make_checkpoint.py",
        "  archive create",
        "  archive serve sea-ice.mar",
        "  archive predict sea-ice --input sample.json",
    ]
    assert result.stderr.startswith(f"{folder}: README.md, archive.yaml, handler.py, ")


def test_a_template_without_checkpoint_has_no_step_for_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = init("-t", "custom", ".")
    assert [line.split()[:2] for line in result.stdout.splitlines()] == [
        ["archive", "create"],
        ["archive", "serve"],
        ["archive", "predict"],
    ]


def test_the_classifier_is_the_default(tmp_path):
    init(tmp_path / "project")
    assert (tmp_path / "project" / "model.py").read_text().count("class Classifier(nn.Module)") == 1


def test_a_folder_that_is_not_empty_needs_force(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    refused, forced = init(tmp_path), init("--force", tmp_path)
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"error: {tmp_path} is not empty\n\nhint: choose another folder, ")
    assert forced.exit_code == 0


def test_an_unknown_template_is_a_usage_error(tmp_path):
    result = init("--template", "vision", tmp_path / "project")
    assert result.exit_code == 2
    assert "'vision' is not one of 'classifier', 'custom', 'embedder', 'text'" in result.stderr
