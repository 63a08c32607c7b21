"""Text in, a label out; texts of different length travel in one batch, padded to the longest."""

import json
from pathlib import Path
from typing import Any

import torch
from pieces import encode
from torch.nn.utils.rnn import pad_sequence

from runner.handlers import BadRequest, Context, Handler


class TextHandler(Handler):
    def initialize(self, context: Context) -> None:
        """Runs once, before the server is ready: load what the model needs beside its weights."""
        super().initialize(context)
        file = Path(context.model_dir) / "vocabulary.json"
        self.vocabulary = json.loads(file.read_text(encoding="utf-8"))

    def preprocess(self, payload: Any) -> torch.Tensor:
        """A text/plain body, or {"text": "…"}. BadRequest answers this request alone with 400."""
        text = payload.get("text") if isinstance(payload, dict) else payload
        if not isinstance(text, str) or not text.strip():
            raise BadRequest('expected text, or {"text": "…"}')
        return encode(text, self.vocabulary)

    def collate(self, items: list[torch.Tensor]) -> torch.Tensor:
        """Rows → one batch on the model's device."""
        return pad_sequence(items, batch_first=True).to(self.device)

    def postprocess(self, output: torch.Tensor) -> dict[str, Any]:
        """This request's row of the network's output → its answer."""
        confidence, index = output.float().softmax(dim=0).max(dim=0)
        return {"label": self.labels[str(int(index))], "confidence": round(float(confidence), 4)}
