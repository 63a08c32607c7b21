"""YAML text → values, positions and findings."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.config.source import MAX_SIZE, MAX_VALUES, dotted, read_source


def codes(text: str | bytes) -> list[str]:
    return [finding.code for finding in read_source(text, "x.yaml").findings]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("8", 8),
        ("-3", -3),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("1.0e-3", 0.001),
        (".inf", float("inf")),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("010", 10),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2024-01-31", "2024-01-31"),
        ("yes", "yes"),
        ("off", "off"),
        ('"8"', "8"),
        ("!!str 8", "8"),
        ("9" * 30, "9" * 30),
    ],
)
def test_scalars_have_the_core_types_of_yaml_1_2(written: str, value: object) -> None:
    assert read_source(f"key: {written}", "x.yaml").values == {"key": value}


def test_places_of_keys_and_values_count_from_one() -> None:
    source = read_source("a: 1\npt2:\n  compile: {mode:   x}\nids: [0,\n  1]\n", "x.yaml")

    assert str(source.where(("pt2", "compile", "mode"), key=True)) == "x.yaml:3:13"
    assert str(source.where(("pt2", "compile", "mode"))) == "x.yaml:3:21"
    assert str(source.where(("ids", 1))) == "x.yaml:5:3"
    assert source.where(("ids", 1)).path == "ids[1]"


def test_a_path_that_is_not_there_is_placed_at_the_key_of_its_nearest_ancestor() -> None:
    source = read_source("a: 1\npt2:\n  compile:\n    mode: x\n", "x.yaml")

    where = source.where(("pt2", "compile", "enable"))

    assert (str(where), where.path) == ("x.yaml:3:3", "pt2.compile.enable")


def test_an_alias_is_placed_where_its_key_stands_and_has_the_values_of_its_anchor() -> None:
    source = read_source("handler:\n  a: &x {k: 1}\n  b: *x\n", "x.yaml")

    assert source.values["handler"]["b"] == {"k": 1}
    assert str(source.where(("handler", "b"), key=True)) == "x.yaml:3:3"


def test_what_a_mapping_says_itself_wins_over_what_it_merges_and_the_first_merge_over_the_second() -> None:
    anchors = "a: &a {k: 1, l: 1}\nb: &b {k: 2, m: 2}\n"
    handler = read_source(anchors + "c: {k: 3, <<: [*a, *b]}\nd: {<<: [*a, *b]}\n", "x.yaml").values

    assert handler["c"] == {"k": 3, "l": 1, "m": 2}
    assert handler["d"] == {"k": 1, "l": 1, "m": 2}


def test_a_byte_order_mark_moves_nothing() -> None:
    source = read_source("\ufeffbatchSize: 8\n".encode(), "x.yaml")

    assert source.values == {"batchSize": 8}
    assert str(source.where(("batchSize",), key=True)) == "x.yaml:1:1"


def test_windows_line_ends_are_counted_once() -> None:
    source = read_source(b"a: 1\r\nb: 2\r\n", "x.yaml")

    assert str(source.where(("b",))) == "x.yaml:2:4"


def test_an_error_at_the_end_of_the_text_points_at_the_last_line() -> None:
    (finding,) = read_source('a: "open\n', "x.yaml").findings

    assert str(finding.where) == "x.yaml:1:9"


def test_a_quoted_trap_is_no_trap() -> None:
    assert codes('handler: {"no": "yes", b: "1:30", c: "2024-01-31", d: "010"}') == []


def test_a_file_that_is_too_long_is_not_even_parsed() -> None:
    assert codes("# " + "x" * MAX_SIZE) == ["yaml/too-large"]


def test_a_file_of_too_many_values_is_not_read_to_its_end() -> None:
    (finding,) = read_source("a: 1\n" * (3 * MAX_VALUES), "x.yaml").findings
    assert finding.code == "yaml/too-large" and finding.where.line == MAX_VALUES


def test_a_mapping_that_merges_itself_ends() -> None:
    assert "yaml/too-large" in codes("a: &a\n  <<: *a\n  b: 1\n")


def test_an_escape_out_of_range_is_a_syntax_error() -> None:
    assert codes('a: "\\UFFFFFFFF"') == ["yaml/syntax"]


def test_dotted_paths_read_like_the_file() -> None:
    assert dotted(("pt2", "buckets", 0, "x")) == "pt2.buckets[0].x"


def inside(text: str, line: int, column: int) -> bool:
    lines = re.split("\r\n|[\r\n\x85\u2028\u2029]", text.removeprefix("\ufeff"))
    return 1 <= line <= len(lines) and 1 <= column <= len(lines[line - 1]) + 1


YAML_LIKE = st.text(alphabet=st.sampled_from("ab1:-,[]{}&*!|>'\"\\ \n\t#%<?~_0.eyno"), max_size=60)


@settings(max_examples=300, deadline=None)
@given(st.one_of(YAML_LIKE, st.text(max_size=40)))
def test_every_finding_points_inside_the_file(text: str) -> None:
    for finding in read_source(text, "x.yaml").findings:
        assert finding.where.line is not None and finding.where.column is not None
        assert inside(text, finding.where.line, finding.where.column)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_arbitrary_bytes_never_raise(data: bytes) -> None:
    read_source(data, "x.yaml")


# Printable text only: JSON writes what lies beyond with escapes that YAML reads as something else.
WORDS = st.text(st.characters(exclude_categories=("C", "Z")), max_size=8)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(WORDS, JSON_VALUES, min_size=1, max_size=4))
def test_json_is_read_as_json(values: dict[str, object]) -> None:
    text = json.dumps(values, ensure_ascii=False)

    assert read_source(text, "x.yaml").values == values


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(WORDS, JSON_VALUES, min_size=1, max_size=3))
def test_every_value_has_a_place_inside_the_file(values: dict[str, object]) -> None:
    text = json.dumps(values, indent=1, ensure_ascii=False)
    source = read_source(text, "x.yaml")

    for place in source.places.values():
        assert inside(text, place.key.line, place.key.column)
        assert inside(text, place.value.line, place.value.column)
