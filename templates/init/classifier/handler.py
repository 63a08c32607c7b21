"""One request in, one answer out; the server batches between preprocess and postprocess."""

from typing import Any

import torch

from runner.handlers import BadRequest, Handler


class ColourHandler(Handler):
    def preprocess(self, payload: Any) -> torch.Tensor:
        """One request's JSON → one row of input. BadRequest answers this request alone, with 400."""
        try:
            return torch.tensor(payload["rgb"], dtype=torch.float32).reshape(3) / 255
        except (KeyError, TypeError, ValueError, RuntimeError):
            raise BadRequest('expected {"rgb": [red, green, blue]}, each from 0 to 255') from None

    def postprocess(self, output: torch.Tensor) -> dict[str, Any]:
        """This request's row of the network's output → its answer."""
        confidence, index = output.float().softmax(dim=0).max(dim=0)
        return {"label": self.labels[str(int(index))], "confidence": round(float(confidence), 4)}
