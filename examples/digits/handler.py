"""One request in, one answer out; the server batches between preprocess and postprocess."""

from typing import Any

import torch

from runner.handlers import BadRequest, Handler


class Digits(Handler):
    def preprocess(self, payload: Any) -> torch.Tensor:
        try:
            pixels = torch.tensor(payload["pixels"], dtype=torch.float32).reshape(1, 8, 8)
        except (KeyError, TypeError, ValueError, RuntimeError):
            raise BadRequest('expected {"pixels": [8 rows of 8 numbers from 0 to 16]}') from None
        return pixels / 16

    def postprocess(self, output: torch.Tensor) -> dict[str, Any]:
        chances = output.float().softmax(dim=0)
        digit = int(chances.argmax())
        return {
            "digit": digit,
            "name": self.labels[str(digit)],
            "confidence": round(float(chances[digit]), 4),
        }
