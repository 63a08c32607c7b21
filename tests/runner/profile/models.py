"""A tiny token model for real recordings: its handler pads the rows of a batch to one length."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.servers import write_model

HANDLER = """
import torch
from runner.handlers import BadRequest, Handler

class Mean(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(64, 32)
        self.out = torch.nn.Linear(32, 32)
    def forward(self, input_ids, attention_mask):
        hidden = torch.relu(self.out(self.embedding(input_ids)))
        return (hidden * attention_mask.unsqueeze(-1)).mean(dim=(1, 2))

class Tokens(Handler):
    def load_model(self):
        return Mean().eval()
    def preprocess(self, payload):
        if not isinstance(payload, list):
            raise BadRequest("expected a list of tokens")
        return payload
    def collate(self, rows):
        longest = max(map(len, rows))
        return {
            "input_ids": torch.tensor([row + [0] * (longest - len(row)) for row in rows]),
            "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows]),
        }
    def inference(self, batch):
        return self.model(**batch)
    def postprocess(self, output):
        return output.tolist()
"""
CONFIG = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 4\nthreads: {intraOp: 1}\n"


def tokens_model(folder: Path, **files: str) -> Path:
    """Its archive, unpacked. `files`: more of them, as of `write_model`."""
    return write_model(folder, HANDLER, config=CONFIG, **files)


def lines(file: Path) -> Path:
    """JSON lines of two lengths: of 8 tokens, 3 are padding in a pair."""
    file.write_text("[1, 2, 3, 4]\n[5]\n" * 4)
    return file
