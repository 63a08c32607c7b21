from __future__ import annotations

import json

from tests.archiver.cli.archives import archive
from tests.builders import make_archive, make_torchserve_archive, write


def test_a_whole_archive_is_said_to_be_right(tmp_path):
    path = make_archive(tmp_path)
    result = archive("verify", path)
    assert (result.exit_code, result.stdout) == (0, f"{path}: 3 files, every sha256 is right\n")


def test_without_hashes_the_crcs_are_checked(tmp_path):
    path = make_torchserve_archive(tmp_path / "m.mar")
    assert archive("verify", path).stdout == f"{path}: 2 files, every CRC is right\n"


def test_a_damaged_member_is_named(tmp_path):
    path = make_archive(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"batchSize: 2", b"batchSize: 3"))
    result = archive("verify", path)
    assert result.exit_code == 1
    assert result.stdout == f"{path}: error: member `model-config.yaml` fails its CRC [archive/damaged-member]\n"


def test_as_json_every_finding_has_its_code(tmp_path):
    path = make_archive(tmp_path, archive_format="no-archive")
    write(path / "handler.py", "x = 1\n")
    result = archive("verify", path, "--json")
    shown = json.loads(result.stdout)
    assert (result.exit_code, shown["ok"], shown["checked"]) == (1, False, "sha256")
    assert [finding["code"] for finding in shown["findings"]] == ["archive/hash-mismatch"]


def test_an_archive_that_is_cut_off_is_said(tmp_path):
    path = make_archive(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    result = archive("verify", path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {path}: its zip directory: ")
