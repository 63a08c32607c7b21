from __future__ import annotations

import pytest

from runner import wire
from runner.handlers.errors import CannotLoad
from runner.worker.sample import sample_row


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.json", "application/json"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.png", "image/png"),
        ("a", "application/octet-stream"),
    ],
)
def test_a_sample_is_one_body_of_the_type_that_its_name_says(tmp_path, name, content_type):
    (tmp_path / name).write_bytes(b"[[1],[2]]")

    row = sample_row(tmp_path, name)

    assert row is not None
    assert row.params == [("body", content_type, b"[[1],[2]]")]
    assert wire.unpack_headers(row.headers) == {"content-type": content_type}


def test_no_sample_is_declared():
    assert sample_row(None, None) is None


@pytest.mark.parametrize("member", ["gone.json", "../outside.json"])
def test_a_sample_that_the_archive_lacks_is_refused(tmp_path, member):
    (tmp_path / "outside.json").write_text("1")
    (tmp_path / "model").mkdir()

    with pytest.raises(CannotLoad, match=f"warmup.input names {member}, which is not in the archive"):
        sample_row(tmp_path / "model", member)
