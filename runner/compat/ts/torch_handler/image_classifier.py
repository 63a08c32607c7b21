"""ts.torch_handler.image_classifier: the most probable classes of each picture."""

from __future__ import annotations

from typing import Any

from torch.nn import functional
from ts.torch_handler.vision_handler import VisionHandler  # type: ignore[import-not-found,unused-ignore]  # by the hook

from runner.handlers.labels import map_class_to_label
from runner.handlers.timing import timed


class ImageClassifier(VisionHandler):  # type: ignore[misc,unused-ignore]  # the hook's modules are Any to mypy
    """Answers `{class: probability}`, best first, of the `topk` best classes or of all if there are fewer."""

    topk = 5

    def set_max_result_classes(self, topk: int) -> None:
        self.topk = topk

    def get_max_result_classes(self) -> int:
        return self.topk

    @timed
    def postprocess(self, data: Any) -> Any:
        """Logits, batch × classes → one mapping per row."""
        best = functional.softmax(data.float(), dim=1).topk(min(self.topk, data.shape[1]), dim=1)
        return map_class_to_label(best.values.tolist(), self.mapping, best.indices.tolist())
