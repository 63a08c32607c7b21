"""The model's code comes in a zip that the handler unpacks beside itself; the base class is not initialised."""

import zipfile

import torch
from ts.torch_handler.base_handler import BaseHandler


class ModelHandler(BaseHandler):
    def __init__(self):
        self.initialized = False
        self.map_location = None
        self.device = None

    def initialize(self, context):
        model_dir = context.system_properties.get("model_dir")
        with zipfile.ZipFile(model_dir + "/models.zip", "r") as file:
            file.extractall(model_dir)
        from models.generator import Generator

        self.generator = Generator()
        self.generator.load_state_dict(torch.load(model_dir + "/net.pth", map_location="cpu"))
        self.initialized = True

    def preprocess(self, requests):
        counts = []
        for request in requests:
            data = request.get("data") if request.get("data") is not None else request.get("body", {})
            counts.append(int(data.get("number_of_images", 1)))
        return counts

    def inference(self, counts):
        return [self.generator.make(count) for count in counts]

    def postprocess(self, pictures):
        return [b"JPEG" + bytes(len(picture)) for picture in pictures]
