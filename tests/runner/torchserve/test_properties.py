"""Java's .properties format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.torchserve.properties import Property, dump, parse

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("a=b", "a", "b"),
        ("a = b ", "a", "b "),
        ("a:b", "a", "b"),
        ("a b c", "a", "b c"),
        ("a", "a", ""),
        ("  a=b=c", "a", "b=c"),
        (r"a\=b=c", "a=b", "c"),
        (r"path=C:\\dir\tx", "path", "C:\\dir\tx"),
        (r"letter=\u00e4\q", "letter", "äq"),
        ("=value", "", "value"),
    ],
)
def test_a_line_is_a_key_and_a_value(line: str, key: str, value: str) -> None:
    assert parse(line) == [Property(key, value, 1)]


def test_comments_and_blank_lines_are_no_properties() -> None:
    assert parse("# a=b\n! c=d\n\n   \n\t# e=f\ng=h") == [Property("g", "h", 6)]


def test_a_backslash_at_the_end_goes_on_in_the_next_line_without_its_indent() -> None:
    text = 'models={\\\n   "m": 1,\\\r\n\t"n": 2}\nafter=\\\\\nlast=1'
    assert parse(text) == [
        Property("models", '{"m": 1,"n": 2}', 1),
        Property("after", "\\", 4),
        Property("last", "1", 5),
    ]


def test_a_file_that_ends_in_a_backslash_ends_there() -> None:
    assert parse("a=b\\") == [Property("a", "b", 1)]


@given(st.dictionaries(TEXT, TEXT))
def test_what_is_written_is_read_back(properties: dict[str, str]) -> None:
    assert {each.key: each.value for each in parse(dump(properties))} == properties


@given(TEXT)
def test_any_text_is_read(text: str) -> None:
    assert all(each.line >= 1 for each in parse(text))
