"""`archive validate` as people and CI jobs call it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from archiver.cli import main

BAD = "batchSize: eight\n"
WARNED = "maxBatchDelay: 0\n"
CLEAN = "batchSize: 8\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    return tmp_path


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def validate(*args: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["validate", *args], input=stdin)


def test_a_clean_config_is_said_to_be_clean() -> None:
    write("model-config.yaml", CLEAN)
    result = validate("model-config.yaml")

    assert (result.exit_code, result.stdout) == (0, "1 file, 0 errors\n")


def test_an_error_is_shown_with_its_place_and_a_line_to_type() -> None:
    write("model-config.yaml", BAD)
    result = validate("model-config.yaml")

    assert result.exit_code == 1
    assert result.stdout == (
        'model-config.yaml:1:12: error: batchSize must be a whole number ≥ 1, not "eight" [config/type]\n'
        "hint: write `batchSize: 8`\n"
        "1 file, 1 error\n"
    )


def test_many_files_end_in_one_summary() -> None:
    for name, text in (("a.yaml", BAD), ("b.yaml", BAD), ("c.yaml", WARNED)):
        write(name, text)

    assert validate("a.yaml", "b.yaml", "c.yaml").stdout.splitlines()[-1] == "3 files, 2 errors, 1 warning"


@pytest.mark.parametrize(("flags", "code"), [([], 0), (["--strict"], 1)])
def test_warnings_fail_only_when_strict(flags: list[str], code: int) -> None:
    write("c.yaml", WARNED)

    assert validate("c.yaml", *flags).exit_code == code


def test_quiet_prints_errors_and_nothing_else() -> None:
    write("a.yaml", WARNED + BAD)
    write("b.yaml", CLEAN)

    assert validate("b.yaml", "--quiet").stdout == ""
    assert [line.split(" ")[1] for line in validate("a.yaml", "--quiet").stdout.splitlines()[:1]] == ["error:"]
    assert "maxBatchDelay" not in validate("a.yaml", "--quiet").stdout


def test_standard_input_is_read_for_a_dash() -> None:
    result = validate("-", stdin=BAD)

    assert result.exit_code == 1
    assert result.stdout.startswith("<stdin>:1:12: error:")


def test_a_folder_is_searched_for_configs_projects_and_archives_but_not_where_tools_live() -> None:
    write("models/a/model-config.yaml", CLEAN)
    write("models/b/model_config_gpu.yml", CLEAN)
    write("models/c/archive.yaml", "name: c\n")
    write("models/other.yaml", BAD)
    write("models/.venv/model-config.yaml", BAD)
    result = validate("models", "--format", "json")

    assert json.loads(result.stdout)["files"] == [
        "models/a/model-config.yaml",
        "models/b/model_config_gpu.yml",
        "models/c/archive.yaml",
    ]


def test_without_paths_the_current_folder_is_searched() -> None:
    write("model-config.yaml", CLEAN)

    assert validate().stdout == "1 file, 0 errors\n"


def test_a_project_brings_its_config_along_and_nothing_is_checked_twice() -> None:
    write("archive.yaml", "name: digits\nconfig: model-config.yaml\n")
    write("model-config.yaml", BAD)
    result = validate("archive.yaml", ".", "model-config.yaml", "--format", "json")

    assert json.loads(result.stdout)["files"] == ["archive.yaml", "model-config.yaml"]
    assert len(json.loads(result.stdout)["findings"]) == 1


def test_a_project_whose_config_is_not_there_is_told_so() -> None:
    write("p/archive.yaml", "config: nowhere.yaml\n")
    result = validate("p/archive.yaml")

    assert result.exit_code == 1
    assert "p/archive.yaml:1:9: error: there is no file nowhere.yaml beside p/archive.yaml" in result.stdout


def test_an_empty_folder_is_a_wrong_command_line() -> None:
    result = validate()

    assert result.exit_code == 2
    assert "nothing to validate in this folder" in result.stderr
    assert "hint: name a file" in result.stderr


def test_a_path_that_is_not_there_is_a_wrong_command_line() -> None:
    result = validate("nowhere.yaml")

    assert result.exit_code == 2
    assert "nowhere.yaml" in result.stderr


def test_github_annotations_come_by_themselves_inside_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.yaml", BAD)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")

    assert validate("a.yaml").stdout.startswith("::error file=a.yaml,line=1,col=12,title=config/type::")
    assert validate("a.yaml", "--format", "text").stdout.startswith("a.yaml:1:12: error:")


def test_a_file_that_is_no_archive_is_a_finding_beside_the_others() -> None:
    Path("broken.mar").write_bytes(b"not a zip")
    write("a.yaml", BAD)
    result = validate("broken.mar", "a.yaml")

    assert result.exit_code == 1
    assert result.stdout.splitlines()[0].startswith("broken.mar: error: ")
    assert result.stdout.splitlines()[-1] == "2 files, 2 errors"


def archive(kind: str, config: str) -> Path:
    from archiver.pack import create
    from archiver.project import from_flags

    write("handler.py", "def handle(data, context):\n    return data\n")
    write("settings.yaml", config)
    project = from_flags(model_name="m", version="1.0", handler="handler.py:handle", config_file="settings.yaml",
                         archive_format=kind)  # fmt: skip
    return Path(create(project, checks=False).path)


@pytest.mark.parametrize("kind", ["default", "tgz", "no-archive"])
def test_the_config_inside_an_archive_is_checked_against_its_members(kind: str) -> None:
    path = archive(kind, "batchSize: 8\nwarmup: {input: handlr.py}\n").relative_to(Path.cwd())
    result = validate(str(path))

    assert result.exit_code == 1
    assert result.stdout == (
        f"{path}/settings.yaml:2:17: error: the archive has no file handlr.py [warmup/no-such-member]\n"
        "hint: did you mean `input: handler.py`?\n"
        "1 file, 1 error\n"
    )


def imported(*args: str) -> set[str]:
    """The modules that a command has loaded when it is done, in a process of its own."""
    code = (
        "import sys\nfrom archiver.cli import main\n"
        f"try:\n    main({list(args)!r})\nexcept SystemExit:\n    pass\n"
        "print('MODULES', *sys.modules)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    return set(done.stdout.rpartition("MODULES ")[2].split())


def test_validating_imports_neither_torch_nor_the_server(tmp_path: Path) -> None:
    (tmp_path / "model-config.yaml").write_text(BAD)
    modules = imported("validate", str(tmp_path))

    assert "jsonschema" in modules
    assert not {name.partition(".")[0] for name in modules} & {"torch", "runner", "rich", "starlette", "uvicorn"}


def test_help_imports_click_alone() -> None:
    modules = {name.partition(".")[0] for name in imported("--help")}

    assert "click" in modules
    assert not modules & {"yaml", "jsonschema", "rich", "torch", "runner", "zipfile_deflate64"}
