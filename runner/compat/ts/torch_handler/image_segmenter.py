"""ts.torch_handler.image_segmenter: the class of every pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ts.torch_handler.vision_handler import VisionHandler  # type: ignore[import-not-found,unused-ignore]  # by the hook

from runner.handlers.timing import timed


class ImageSegmenter(VisionHandler):  # type: ignore[misc,unused-ignore]  # the hook's modules are Any to mypy
    """Answers height × width × [class number, probability]."""

    @timed
    def postprocess(self, data: Any) -> Any:
        """Logits, batch × classes × height × width, or a mapping with them as "out" → nested lists per row."""
        logits = data["out"] if isinstance(data, Mapping) else data
        best = logits.float().softmax(dim=1).max(dim=1)
        return torch.stack([best.indices.to(best.values.dtype), best.values], dim=3).tolist()
