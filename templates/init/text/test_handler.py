"""The handler, loaded from this folder and answering as in a worker of the server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.testing import Model, Refused, model_of


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with model_of(Path(__file__).parent) as loaded:
        yield loaded


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("we have never seen the house with the red door", "english"),
        ("ich möchte heute ein neues Buch lesen", "german"),
        ("elle préfère la petite maison près de la mer", "french"),
        ("ella quiere leer un libro en la casa", "spanish"),
    ],
)
def test_a_text_gets_its_language(model: Model, text: str, label: str) -> None:
    assert model.predict({"text": text})["label"] == label


def test_texts_of_different_length_share_a_batch(model: Model) -> None:
    short, long = model.batch(["the sea", "wir gehen heute im schönen Wetter spazieren und möchten lieber lesen"])
    assert (short["label"], long["label"]) == ("english", "german")


def test_an_empty_text_fails_alone(model: Model) -> None:
    good, bad = model.batch(["the house of the sea", "  "])
    assert good["label"] == "english"
    assert isinstance(bad, Refused)
    assert bad.status == 400
