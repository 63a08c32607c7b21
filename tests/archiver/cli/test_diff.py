from __future__ import annotations

import json

from tests.archiver.cli.archives import archive
from tests.builders import make_archive


def test_the_same_content_exits_with_0(tmp_path):
    result = archive("diff", make_archive(tmp_path / "a"), make_archive(tmp_path / "b"))
    assert (result.exit_code, result.stdout) == (0, "no difference\n")


def test_differences_are_listed_by_section_and_exit_with_1(tmp_path):
    old = make_archive(tmp_path / "a", extra={"gone.txt": "1"})
    new = make_archive(tmp_path / "b", version="2.0", config="batchSize: 4\nminWorkers: 1\nmaxWorkers: 1\n")
    result = archive("diff", old, new)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[:4] == ["manifest", "  ~ model.modelVersion: 1.0 → 2.0", "config", "  ~ batchSize: 2 → 4"]
    assert lines[4:6] == ["files", "  - gone.txt: 6b86b273ff34"]


def test_as_json_a_missing_side_is_left_out(tmp_path):
    old = make_archive(tmp_path / "a")
    new = make_archive(tmp_path / "b", extra={"new.txt": "1"})
    (change,) = json.loads(archive("diff", old, new, "--json").stdout)
    assert (change["section"], change["key"], "old" in change, len(change["new"])) == ("files", "new.txt", False, 64)
