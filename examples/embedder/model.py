"""MiniLM with its pooling. One nn.Module class, built without arguments: that is how the archive finds it.

It subclasses BertModel, so that its weights have the names that model.safetensors has.
"""

from pathlib import Path

import torch
from transformers import BertConfig, BertModel

HERE = Path(__file__).resolve().parent


class SentenceEncoder(BertModel):
    """Tokens, shape (n, length), and their mask → unit vectors, shape (n, 384): the mean over its tokens."""

    def __init__(self) -> None:
        super().__init__(BertConfig.from_json_file(HERE / "config.json"))
        # The file has this table among its weights; newer transformers no longer save it.
        self.embeddings.register_buffer("position_ids", self.embeddings.position_ids, persistent=True)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        tokens = super().forward(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(tokens.dtype)
        mean = (tokens * weights).sum(1) / weights.sum(1)
        return torch.nn.functional.normalize(mean, dim=1)
