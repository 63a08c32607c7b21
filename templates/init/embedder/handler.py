"""Text in, one vector out; texts of different length travel in one batch, padded to the longest."""

from typing import Any
from zlib import crc32

import torch
from model import ROWS
from torch.nn.utils.rnn import pad_sequence

from runner.handlers import BadRequest, Handler


class EmbedderHandler(Handler):
    def preprocess(self, payload: Any) -> torch.Tensor:
        """A text/plain body, or {"text": "…"} → the numbers of its three-letter pieces."""
        text = payload.get("text") if isinstance(payload, dict) else payload
        if not isinstance(text, str) or not text.strip():
            raise BadRequest('expected text, or {"text": "…"}')
        padded = f" {' '.join(text.lower().split())} "
        pieces = [padded[start : start + 3] for start in range(len(padded) - 2)]
        return torch.tensor([1 + crc32(piece.encode()) % (ROWS - 1) for piece in pieces])

    def collate(self, items: list[torch.Tensor]) -> torch.Tensor:
        """Rows → one batch on the model's device."""
        return pad_sequence(items, batch_first=True).to(self.device)

    def postprocess(self, output: torch.Tensor) -> list[float]:
        return output.float().tolist()
