"""The network. Exactly one nn.Module class, built without arguments: that is how the archive finds it."""

import torch
from torch import nn

#: Rows of the table; row 0 is padding.
ROWS = 1 << 14
SIZE = 64


class Embedder(nn.Module):
    """Numbers of the text's pieces, shape (n, pieces), 0 = padding → unit vectors, shape (n, SIZE)."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(ROWS, SIZE, mode="sum", padding_idx=0)

    def forward(self, pieces: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.table(pieces), dim=1)
