"""A class without a base, a module-level instance of it, and the function that TorchServe calls."""

import os
import time

import torch


class ModelHandler(object):
    def __init__(self):
        self.error = None
        self._context = None
        self._batch_size = 0
        self.initialized = False

    def initialize(self, context):
        self._context = context
        self._batch_size = context.system_properties["batch_size"]
        from net import Net

        model_dir = context.system_properties.get("model_dir")
        self.model = Net()
        path = os.path.join(model_dir, context.manifest["model"]["serializedFile"])
        self.model.load_state_dict(torch.load(path, map_location="cpu"))
        self.model.eval()
        self.initialized = True

    def preprocess(self, batch):
        assert self._batch_size == len(batch), "Invalid input batch size: {}".format(len(batch))
        return torch.tensor([row.get("data") or row.get("body") for row in batch], dtype=torch.float32)

    def handle(self, data, context):
        started = time.time()
        prepared = self.preprocess(data)
        context.metrics.add_time("PreprocessTime", (time.time() - started) * 1000, None, "ms")
        with torch.no_grad():
            answers = self.model(prepared).argmax(1).tolist()
        context.set_response_content_type(0, "application/x-class")
        return [str(answer) for answer in answers]


_service = ModelHandler()


def handle(data, context):
    if not _service.initialized:
        _service.initialize(context)
    if data is None:
        return None
    return _service.handle(data, context)
