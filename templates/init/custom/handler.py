"""A handler without a base class: anything Python can do, a batch at a time, no checkpoint needed.

The server calls `initialize(context)` once and `handle(rows, context)` for every batch. A row is a dict: a
raw body is row["body"], form fields have their own names; JSON arrives decoded. The answer is a list with one
item a row.
"""

import json
from pathlib import Path
from typing import Any

import torch

EARTH_RADIUS_KM = 6371.0


class NearestCity:
    def initialize(self, context: Any) -> None:
        folder = Path(context.system_properties["model_dir"])
        cities = json.loads((folder / "cities.json").read_text(encoding="utf-8"))
        self.names = list(cities)
        self.points = on_the_globe(torch.tensor(list(cities.values())))

    def handle(self, rows: list[dict[str, Any]], context: Any) -> list[dict[str, Any]]:
        places = [place_in(row.get("body")) for row in rows]
        known = torch.tensor([place or (0.0, 0.0) for place in places])
        cosines, nearest = (on_the_globe(known) @ self.points.T).clamp(-1, 1).max(dim=1)
        distances = (cosines.arccos() * EARTH_RADIUS_KM).tolist()
        answers: list[dict[str, Any]] = []
        for index, place in enumerate(places):
            if place is None:
                context.set_response_status(code=400, phrase="Bad Request", idx=index)
                answers.append({"message": 'expected {"lat": degrees, "lon": degrees}'})
            else:
                answers.append({"city": self.names[nearest[index]], "km": round(distances[index])})
        return answers


def place_in(body: Any) -> tuple[float, float] | None:
    """Latitude and longitude in degrees; None when the request has none: it must not fail its batch."""
    try:
        return float(body["lat"]), float(body["lon"])
    except (KeyError, TypeError, ValueError):
        return None


def on_the_globe(degrees: torch.Tensor) -> torch.Tensor:
    """(n, 2) latitudes and longitudes in degrees → (n, 3) unit vectors."""
    lat, lon = degrees.double().deg2rad().unbind(1)
    return torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], dim=1)
