"""ts.torch_handler.object_detector: boxes with class and score."""

from __future__ import annotations

from typing import Any

import torch
from ts.torch_handler.vision_handler import VisionHandler  # type: ignore[import-not-found,unused-ignore]  # by the hook

from runner.handlers import images
from runner.handlers.labels import map_class_to_label
from runner.handlers.timing import timed


class ObjectDetector(VisionHandler):  # type: ignore[misc,unused-ignore]  # the hook's modules are Any to mypy
    """Answers `[{class: [x1, y1, x2, y2], "score": s}, …]` of what scores `threshold` or more. Pictures keep
    their sizes; a batch of different sizes goes to the model as a list, as torchvision's detectors take it."""

    image_processing: Any = images.Steps([images.to_rgb, images.to_tensor])
    threshold = 0.5

    @timed
    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """The detections of each picture."""
        scripted = isinstance(self.model, torch.jit.ScriptModule)
        pictures = list(data) if scripted or isinstance(data, list) else data.to(self.device)
        with torch.inference_mode():
            output = self.model(pictures, *args, **kwargs)
        # Scripted detectors answer (losses, detections).
        return output[1] if isinstance(output, tuple) else output

    @timed
    def postprocess(self, data: Any) -> Any:
        """Mappings of "boxes", "labels" and "scores" → one list of detections per row."""
        return [self._detections(row) for row in data]

    def _detections(self, row: Any) -> list[dict[str, Any]]:
        sure = row["scores"] >= self.threshold
        found = zip(*(row[key][sure].tolist() for key in ("labels", "boxes", "scores")), strict=True)
        return [
            {**map_class_to_label([[box]], self.mapping, [[number]])[0], "score": score}
            for number, box, score in found
        ]
