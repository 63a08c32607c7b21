from __future__ import annotations

import pytest

from archiver.requirements import leans_on_files, missing, not_installed

ALONE = [
    "",
    "# nothing but a comment",
    "numpy",
    "numpy>=1.26,<3  # for the tokenizer",
    "package[extra, more] == 1.0",
    "name @ https://example.com/name-1.0.tar.gz",
    "https://example.com/name-1.0-py3-none-any.whl",
    "git+https://example.com/repo.git@main",
    "name==1.0 \\\n    --hash=sha256:abc",
    "--no-index\n--extra-index-url=https://example.com/simple\n--pre\nname",
    "name; python_version < '3'",
]
WITH_FILES = [
    "-r more.txt",
    "-c constraints.txt",
    "-e .",
    "--find-links wheels",
    "--find-links=wheels\nname",
    "./name-1.0-py3-none-any.whl",
    "name-1.0-py3-none-any.whl",
    "packages/name",
    "name @ file:wheels/name-1.0.tar.gz",
    "--some-option-of-tomorrow x",
]


@pytest.mark.parametrize("text", ALONE)
def test_text_that_says_all_leans_on_no_files(text):
    assert not leans_on_files(text)


@pytest.mark.parametrize("text", WITH_FILES)
def test_what_may_lie_beside_it_counts(text):
    assert leans_on_files(text)


def test_what_is_named_and_not_installed_is_missing():
    text = "pytest>=1\nno-such-thing==2.0\n# other\n--pre\nno.such.more[x]~=1\nno-such-third; python_version<'3'\n"
    assert missing(text) == ["no-such-thing", "no.such.more"]


def test_people_are_told_what_is_not_installed(tmp_path):
    (tmp_path / "more.txt").write_text("pytest\nno-such-thing==2.0\n")
    assert not_installed(tmp_path, "more.txt") == (
        "more.txt asks for what is not installed here: no-such-thing; `pip install -r more.txt` installs it"
    )
    (tmp_path / "more.txt").write_text("pytest\n")
    assert not_installed(tmp_path, "more.txt") is None
    assert not_installed(tmp_path, "none.txt") is not_installed(tmp_path, None) is None
