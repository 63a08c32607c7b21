"""The network. Exactly one nn.Module class, built without arguments: that is how the archive finds it."""

import json
from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).resolve().parent  # in the archive, too, the files of names lie beside this one


class TextClassifier(nn.Module):
    """Numbers of the text's pieces, shape (n, pieces), 0 = padding → scores, shape (n, classes)."""

    def __init__(self) -> None:
        super().__init__()
        pieces = json.loads((HERE / "vocabulary.json").read_text(encoding="utf-8"))
        classes = json.loads((HERE / "index_to_name.json").read_text(encoding="utf-8"))
        self.pieces = nn.EmbeddingBag(len(pieces) + 1, 32, mode="mean", padding_idx=0)
        self.scores = nn.Linear(32, len(classes))

    def forward(self, pieces: torch.Tensor) -> torch.Tensor:
        return self.scores(self.pieces(pieces))
