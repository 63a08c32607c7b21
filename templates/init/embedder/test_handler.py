"""The handler, loaded from this folder and answering as in a worker of the server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.testing import Model, Refused, model_of


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with model_of(Path(__file__).parent) as loaded:
        yield loaded


def cosine(one: list[float], other: list[float]) -> float:
    """Of unit vectors."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_a_text_becomes_a_unit_vector(model: Model) -> None:
    vector = model.predict("the quick brown fox")
    assert len(vector) == 64
    assert cosine(vector, vector) == pytest.approx(1.0, abs=1e-5)


def test_texts_spelled_alike_are_nearer_than_others(model: Model) -> None:
    fox, typo, other = model.batch(["the quick brown fox", "the quikc brown fox", "seven sleepy sailors"])
    assert cosine(fox, typo) > cosine(fox, other) + 0.3


def test_an_empty_text_fails_alone(model: Model) -> None:
    good, bad = model.batch([{"text": "fox"}, {"text": ""}])
    assert len(good) == 64
    assert isinstance(bad, Refused)
    assert bad.status == 400
