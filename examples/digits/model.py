"""The network. Exactly one nn.Module class, built without arguments: that is how the archive finds it."""

import torch
from torch import nn


class DigitNet(nn.Module):
    """8×8 grey images, shape (n, 1, 8, 8), values 0 to 1 → scores of the ten digits, shape (n, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.scores = nn.Linear(32 * 4 * 4, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scores(self.features(images).flatten(1))
