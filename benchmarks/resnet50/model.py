"""ResNet-50's shape in plain torch (He et al. 2015, version 1.5: the stride is in the 3 × 3), for timing alone."""

from __future__ import annotations

import torch
from torch import nn


def _normed(inner: int, outer: int, size: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inner, outer, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outer))


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3, 1 × 1, and what came in added to it."""

    def __init__(self, inner: int, width: int, stride: int) -> None:
        super().__init__()
        outer = width * 4
        self.body = nn.Sequential(
            _normed(inner, width, 1), nn.ReLU(), _normed(width, width, 3, stride), nn.ReLU(), _normed(width, outer, 1)
        )
        self.past = _normed(inner, outer, 1, stride) if stride > 1 or inner != outer else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.past(x))


class ResNet50(nn.Module):
    """Images, shape (n, 3, 224, 224) → scores, shape (n, 1000)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_normed(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        blocks: list[nn.Module] = []
        inner = 64
        for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            for place in range(count):
                blocks.append(Bottleneck(inner, width, stride if place == 0 else 1))
                inner = width * 4
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inner, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))
