"""Archives that name a built-in handler, packed and served as a TorchServe user would."""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch
from PIL import Image

from archiver.pack import create
from archiver.project import from_flags
from tests.e2e.servers import running_server

CNN = """
from torch import nn


class SmallNet(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 6)
        )
"""
BAG = """
from torch import nn


class Reviews(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag = nn.EmbeddingBag(3, 2, mode="sum")

    def forward(self, text, offsets):
        return self.bag(text, offsets)
"""


def packed(folder: Path, handler: str, model: str, state: dict[str, torch.Tensor], names: dict[str, str], extra=()):
    """The archive of one model file, its state dict, index_to_name.json and more files that are in `folder`."""
    (folder / "model.py").write_text(model)
    torch.save(state, folder / "weights.pth")
    (folder / "index_to_name.json").write_text(json.dumps(names))
    project = from_flags(
        model_name="m",
        version="1.0",
        handler=handler,
        model_file=folder / "model.py",
        serialized_file=folder / "weights.pth",
        extra_files=",".join(str(folder / name) for name in ("index_to_name.json", *extra)),
        export_path=folder,
    )
    return create(project).path


def test_an_image_classifier_answers_its_five_best_classes(tmp_path):
    torch.manual_seed(7)
    state = {
        "0.weight": torch.randn(4, 3, 3, 3),
        "0.bias": torch.zeros(4),
        "4.weight": torch.randn(6, 64),
        "4.bias": torch.zeros(6),
    }
    archive = packed(tmp_path, "image_classifier", CNN, state, {str(n): f"class {n}" for n in range(6)})
    picture = io.BytesIO()
    Image.radial_gradient("L").resize((320, 240)).convert("RGB").save(picture, "PNG")

    with running_server(archive, cache=tmp_path / "cache") as server:
        answer = server.predict(picture.getvalue())
        upload = server.client.post("/predictions/m", files={"data": ("p.png", picture.getvalue(), "image/png")})
        refused = server.predict(b"no picture")

    probabilities = list(answer.json().values())
    assert (answer.status_code, len(probabilities)) == (200, 5)
    assert probabilities == sorted(probabilities, reverse=True)
    assert upload.json() == answer.json()
    assert refused.status_code == 400
    assert refused.json()["message"] == "the input is not a picture that can be read: unknown format"


def test_a_text_classifier_answers_every_class(tmp_path):
    torch.save({"<unk>": 0, "bad": 1, "good": 2}, tmp_path / "source_vocab.pt")
    state = {"bag.weight": torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])}
    names = {"0": "Negative", "1": "Positive"}
    archive = packed(tmp_path, "text_classifier", BAG, state, names, extra=["source_vocab.pt"])

    with running_server(archive, cache=tmp_path / "cache") as server:
        good = server.predict("<p>It's good!</p>").json()
        bad = server.client.post("/predictions/m", data={"data": "Bad."}).json()

    assert list(good) == ["Negative", "Positive"]
    assert good["Positive"] > 0.8
    assert bad["Negative"] > 0.8
