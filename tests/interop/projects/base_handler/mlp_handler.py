"""As people wrote them for TorchServe: BaseHandler's model loading, its inference and its postprocess."""

import torch
from ts.torch_handler.base_handler import BaseHandler


class MlpHandler(BaseHandler):
    def preprocess(self, data):
        rows = [row.get("data") or row.get("body") for row in data]
        return torch.tensor([row["pixels"] for row in rows], dtype=torch.float32, device=self.device)
