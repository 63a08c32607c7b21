from __future__ import annotations

import json
import os

from tests.archiver.cli.archives import archive
from tests.archiver.scan.payloads import calling
from tests.archiver.scan.test_nested import zipped
from tests.builders import make_archive, safetensors, write

EVIL = calling(os.system, "id")


def test_what_runs_is_listed_and_is_no_failure(tmp_path):
    path = make_archive(tmp_path, checkpoint=safetensors())
    result = archive("scan", path)
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == [str(path), "nothing", "refused"]
    assert ["handler.py", "runs", "code", "Python"] in lines
    assert ["model.safetensors", "safe", "weights", "safetensors"] in lines
    assert ["model-config.yaml", "data", "data"] in lines


def test_what_is_refused_is_named_below_its_entry(tmp_path):
    path = make_archive(tmp_path, extra={"labels.txt": zipped({"m/data.pkl": EVIL})})
    result = archive("scan", path)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == f"{path}  1 refused"
    place = [line.split() for line in result.stdout.splitlines()].index(["m/data.pkl", "refused", "pickle"])
    told = result.stdout.splitlines()[place + 1].strip()
    assert told == "refused: posix.system is not on torch's list"


def test_as_json_module_function_and_entry_are_apart(tmp_path):
    path = write(tmp_path / "weights.safetensors", EVIL)
    result = archive("scan", path, "--json")
    (report,) = json.loads(result.stdout)
    assert (result.exit_code, report["path"], report["verdict"]) == (1, str(path), "refused")
    (entry,) = report["entries"]
    assert entry["refused"] == [{"module": "posix", "name": "system", "why": "is not on torch's list"}]
    assert (entry["entry"], entry["kind"], entry["globals"]) == ("weights.safetensors", "pickle", ["posix.system"])


def test_several_files_are_told_one_by_one(tmp_path):
    good, bad = write(tmp_path / "good.json", "{}"), write(tmp_path / "bad.bin", EVIL)
    result = archive("scan", good, bad)
    assert result.exit_code == 1
    assert f"{good}  nothing refused" in result.stdout
    assert f"{bad}  1 refused" in result.stdout


def test_an_archive_that_cannot_be_opened_is_refused(tmp_path):
    path = write(tmp_path / "broken.mar", b"PK\x03\x04 cut off")
    result = archive("scan", path)
    assert result.exit_code == 1
    assert "refused" in result.stdout


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path):
    assert archive("scan", tmp_path / "none.mar").exit_code == 2
    assert archive("scan").exit_code == 2


def test_create_says_what_will_need_trust_and_packs_it(tmp_path):
    weights = write(tmp_path / "model.bin", EVIL)
    handler = write(tmp_path / "handler.py", "def handle(data, context): ...\n")
    arguments = ("--model-name", "m", "--serialized-file", weights, "--handler", handler, "--export-path", tmp_path)
    result = archive("create", *arguments)
    assert result.exit_code == 0
    assert f"{weights}: warning: wants more than torch's weights_only list allows: model.bin: posix.system" in (
        result.stderr
    )
    assert "[pickle/refused]" in result.stderr
    assert "--trust" in result.stderr
