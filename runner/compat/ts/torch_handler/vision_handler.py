"""ts.torch_handler.vision_handler: rows that hold pictures → one batch of tensors."""

from __future__ import annotations

import base64
import binascii
from functools import cached_property
from typing import Any

import torch
from ts.torch_handler.base_handler import BaseHandler  # type: ignore[import-not-found,unused-ignore]  # by the hook

from runner.handlers import images, insights
from runner.handlers.errors import BadRequest
from runner.handlers.timing import timed


class VisionHandler(BaseHandler):  # type: ignore[misc,unused-ignore]  # the hook's modules are Any to mypy
    """A row is the bytes of a picture, the same in base64, or nested lists of numbers. `image_processing` turns a
    picture into a tensor; a subclass sets its own, torchvision's or `runner.handlers.images`', and gets the picture
    as its file has it, grey ones with one channel."""

    image_processing: Any = images.imagenet()

    def initialize(self, context: Any) -> None:
        """As BaseHandler's. Raises CannotLoad when pictures will come and Pillow is missing."""
        if type(self).preprocess is VisionHandler.preprocess:
            images.require_pillow(type(self).__name__)
        super().initialize(context)

    @timed
    def preprocess(self, data: Any) -> Any:
        """The rows' pictures as one tensor on the device; as a list when their shapes differ.
        Raises BadRequest for a row that holds no picture."""
        tensors = [self._tensor_of(row) for row in data]
        if any(tensor.shape != tensors[0].shape for tensor in tensors):
            return [tensor.to(self.device) for tensor in tensors]
        return torch.stack(tensors).to(self.device)

    def _tensor_of(self, row: Any) -> Any:
        value = row.get("data") or row.get("body") if isinstance(row, dict) else row
        if isinstance(value, str):
            value = _decoded(value)
        if isinstance(value, bytes | bytearray | memoryview):
            limited = self.context is None or self.context.system_properties.get("limit_max_image_pixels", True)
            return self.image_processing(images.open_image(value, limit_pixels=limited))
        try:
            return torch.as_tensor(value, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError) as error:
            raise BadRequest("the input is neither a picture nor nested lists of numbers") from error

    @cached_property
    def ig(self) -> Any:
        """captum's IntegratedGradients of the model. Raises PredictionException (501) without captum."""
        return insights.captum_attr().IntegratedGradients(self.model)

    def get_insights(self, tensor_data: Any, raw_data: Any, target: Any = 0) -> Any:
        """Integrated gradients of every input value. Raises PredictionException: 501 without captum."""
        return insights.attributed(self.ig, tensor_data, target, n_steps=15).tolist()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError) as error:
        raise BadRequest("the input is text, but not a picture in base64") from error
