from __future__ import annotations

import json

import pytest

from runner.handlers.labels import load_labels, map_class_to_label


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ({"0": "cat", "1": "dog"}, {"0": "cat", "1": "dog"}),
        ({"0": ["n01", "cat"]}, {"0": "cat"}),
        ({"object_type_names": ["cat", "dog"]}, {"0": "cat", "1": "dog"}),
    ],
)
def test_every_form_of_index_to_name_is_read(tmp_path, content, labels):
    (tmp_path / "index_to_name.json").write_text(json.dumps(content))

    assert load_labels(tmp_path / "index_to_name.json") == labels


def test_without_the_file_there_are_no_labels(tmp_path):
    assert load_labels(tmp_path / "index_to_name.json") is None


@pytest.mark.parametrize("content", [["cat"], {"0": 5}, {"0": []}])
def test_other_forms_are_refused(tmp_path, content):
    (tmp_path / "names.json").write_text(json.dumps(content))

    with pytest.raises(ValueError, match="names.json"):
        load_labels(tmp_path / "names.json")


def test_probabilities_get_names():
    assert map_class_to_label([[0.9, 0.1]], {"0": "cat", "1": "dog"}) == [{"cat": 0.9, "dog": 0.1}]


def test_probabilities_get_the_numbers_they_belong_to():
    assert map_class_to_label([[0.9], [0.8]], None, [[3], [1]]) == [{"3": 0.9}, {"1": 0.8}]


@pytest.mark.parametrize(("probs", "mapping"), [((0.1,), None), ([[0.1]], ["cat"])])
def test_other_shapes_are_refused(probs, mapping):
    with pytest.raises(ValueError, match="must be a"):
        map_class_to_label(probs, mapping)
