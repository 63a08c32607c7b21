"""The handler, loaded from this folder and answering as in a worker of the server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.testing import Model, Refused, model_of


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with model_of(Path(__file__).parent) as loaded:
        yield loaded


@pytest.mark.parametrize(("rgb", "label"), [([250, 10, 10], "red"), ([5, 5, 5], "black"), ([10, 20, 240], "blue")])
def test_a_colour_gets_its_name(model: Model, rgb: list[int], label: str) -> None:
    assert model.predict({"rgb": rgb})["label"] == label


def test_a_request_without_a_colour_fails_alone(model: Model) -> None:
    good, bad = model.batch([{"rgb": [250, 250, 250]}, {"rgb": "white"}])
    assert good["label"] == "white"
    assert isinstance(bad, Refused)
    assert bad.status == 400
