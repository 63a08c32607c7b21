"""Small modules, targets and compile backends for the pipeline's tests: real ones, only tiny."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from archiver.config.model import ModelConfig, Precision
from tests.runner.configs import make_config

CPU = torch.device("cpu")

#: No speed-up is asked for: tiny modules get slower when compiled.
PLAIN = make_config(batchSize=4, pt2={"minSpeedup": 0.0}, verify={"minCosine": 0.99}, warmup={"iterations": 1})
EAGER = make_config(pt2={"compile": {"backend": "eager"}}).pt2.compile


def precision(dtype: str, mode: str = "cast", keep: dict[str, str] | None = None, **more: Any) -> ModelConfig:
    return replace(PLAIN, precision=Precision(dtype, mode, keep or {}), **more)


def compiled(backend: str = "eager", *, pt2: dict[str, Any] | None = None, config: ModelConfig = PLAIN, **how: Any):
    declared = replace(EAGER, backend=backend, **how)
    return replace(config, pt2=replace(config.pt2, compile=declared, **(pt2 or {})))


class Scores(nn.Module):
    """Class scores from rows of 6 numbers; sizes that no batch of a test has."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 24)
        self.norm = nn.LayerNorm(24)
        self.head = nn.Linear(24, 10)
        self.labels = ["a", "b"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = x.dtype
        return self.head(torch.relu(self.norm(self.body(x))))


class Output(OrderedDict):  # type: ignore[type-arg]
    """A dict whose keys are attributes as well, as Hugging Face's outputs are."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)


class Encoder(nn.Module):
    """Dict in, model output out: tokens, a mask, attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.qkv = nn.Linear(16, 48)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor, extra: dict[str, Any] | None = None) -> Output:
        q, k, v = self.qkv(self.embed(tokens)).chunk(3, dim=-1)
        out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, :])
        result = Output()
        result["states"] = out
        result["pooled"] = (out.mean(dim=1), {"count": mask.sum(dim=1)})
        return result


class Conv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen_channels_last = x.is_contiguous(memory_format=torch.channels_last)
        return self.conv(x).mean(dim=(2, 3))


class Normed(nn.Module):
    """A small CNN with batch norm, its statistics as trained."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.norm.running_mean.uniform_(-0.5, 0.5)
        self.norm.running_var.uniform_(0.5, 2.0)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.norm(self.conv(x))).mean(dim=(2, 3)))


class Branching(Scores):
    """Looks at its numbers: no compiler can make one graph of it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = super().forward(x)
        return scores + 1 if scores.sum().item() > 1e6 else scores


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        raise NotImplementedError


class Own(Scores):
    """With an autograd function of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(Swish.apply(self.body(x)))


class Cancelling(nn.Module):
    """Small differences of large numbers, which bf16 has not the digits for."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.full((6,), 1000.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + self.shift) - self.shift


@dataclass
class Handler:
    """A target as the worker hands it in: `serve` is what the handler's code does with the model."""

    model: nn.Module | None
    inputs: Callable[[int], Any]
    serve: Callable[[Any, Any], Any] = lambda model, inputs: model(inputs)
    has_sample: bool = True
    sizes: list[int] = field(default_factory=list)

    def get(self) -> nn.Module | None:
        return self.model

    def exercise(self, n: int) -> None:
        self.sizes.append(n)
        self.answer(n)

    def answer(self, n: int = 1) -> Any:
        with torch.inference_mode():
            return self.serve(self.model, self.inputs(n))


def scores(**more: Any) -> Handler:
    torch.manual_seed(0)
    return Handler(Scores().eval(), rows, **more)


def encoder(**more: Any) -> Handler:
    torch.manual_seed(0)
    return Handler(Encoder().eval(), tokens, lambda model, inputs: model(**inputs), **more)


def conv(**more: Any) -> Handler:
    torch.manual_seed(0)
    return Handler(Conv().eval(), images, **more)


def normed(**more: Any) -> Handler:
    torch.manual_seed(0)
    return Handler(Normed().eval(), images, **more)


def of(make: Callable[[], nn.Module]) -> Handler:
    """A target whose model takes rows of 6 numbers."""
    torch.manual_seed(0)
    return Handler(make().eval(), rows)


def rows(n: int) -> torch.Tensor:
    return torch.arange(n * 6, dtype=torch.float32).reshape(n, 6).sin()


def tokens(n: int) -> dict[str, torch.Tensor]:
    ids = torch.arange(n * 7).reshape(n, 7) % 50
    return {"tokens": ids, "mask": torch.ones(n, 7, dtype=torch.bool)}


def images(n: int) -> torch.Tensor:
    return torch.arange(n * 3 * 12 * 12, dtype=torch.float32).reshape(n, 3, 12, 12).cos()
