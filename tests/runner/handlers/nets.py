"""Small model files and checkpoints for tests."""

from __future__ import annotations

from pathlib import Path

import torch

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 3)

    def forward(self, x):
        return self.linear(x)
"""


def write_net(folder: Path, source: str = NET, name: str = "net.py") -> Path:
    (folder / name).write_text(source)
    return folder / name


def state() -> dict[str, torch.Tensor]:
    """Weights for NET: row i of the output is i + 1 times the sum of the inputs."""
    return {
        "linear.weight": torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]),
        "linear.bias": torch.zeros(3),
    }
