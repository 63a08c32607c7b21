"""What may be registered: an archive of the model store, and nothing else on this machine or any other."""

from __future__ import annotations

import pytest

from runner.frontend.model_store import NotInStore, find


def test_an_archive_is_found_by_its_name_below_the_store(tmp_path):
    (tmp_path / "team").mkdir()
    for name in ("a.mar", "team/b.mar"):
        (tmp_path / name).write_text("")
        assert find(tmp_path, name) == (tmp_path / name).resolve()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("../a.mar", "Relative path is not allowed"),
        ("x/../../a.mar", "Relative path is not allowed"),
        ("/etc/passwd", "Relative path is not allowed"),
        (".", "Relative path is not allowed"),
        ("link.mar", "Relative path is not allowed"),
        ("none.mar", "Model not found at: none.mar"),
        ("a\0.mar", "Model not found at"),
        ("\ud800.mar", "Model not found at"),
        ("a" * 5000, "Model not found at"),
        ("loop.mar", "Model not found at|Relative path"),
        ("http://169.254.169.254/a.mar", "does not match any allowed URL"),
        ("file:///etc/passwd", "does not match any allowed URL"),
        ("s3://bucket/a.mar", "does not match any allowed URL"),
    ],
)
def test_whatever_leads_out_of_the_store_is_refused(tmp_path, url, said):
    store = tmp_path / "store"
    store.mkdir()
    (tmp_path / "a.mar").write_text("")
    (store / "link.mar").symlink_to(tmp_path / "a.mar")
    (store / "loop.mar").symlink_to(store / "loop.mar")
    with pytest.raises(NotInStore, match=said):
        find(store, url)


def test_without_a_store_nothing_can_be_registered():
    with pytest.raises(NotInStore, match="--model-store DIR"):
        find(None, "a.mar")
