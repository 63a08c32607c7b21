"""The handler, loaded from this folder and answering as in a worker of the server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.testing import Model, Refused, model_of


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with model_of(Path(__file__).parent) as loaded:
        yield loaded


def test_a_city_is_nearest_to_itself(model: Model) -> None:
    assert model.predict({"lat": 35.68, "lon": 139.69}) == {"city": "Tokyo", "km": 0}


def test_the_date_line_is_no_border(model: Model) -> None:
    assert model.predict({"lat": -30.0, "lon": -175.0})["city"] == "Sydney"


def test_a_request_without_a_place_fails_alone(model: Model) -> None:
    good, bad = model.batch([{"lat": 48.86, "lon": 2.35}, {"lat": "north"}])
    assert good["city"] == "Berlin"
    assert isinstance(bad, Refused)
    assert bad.status == 400
