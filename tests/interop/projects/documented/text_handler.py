"""A handler as those for Hugging Face's models are written: everything by hand, files looked up in the working
directory, a setup file, `print` and a logger."""

import json
import logging
import os
from abc import ABC

import torch
from ts.torch_handler.base_handler import BaseHandler

logger = logging.getLogger(__name__)


class TextHandler(BaseHandler, ABC):
    def __init__(self):
        super(TextHandler, self).__init__()
        self.initialized = False

    def initialize(self, ctx):
        self.manifest = ctx.manifest
        properties = ctx.system_properties
        model_dir = properties.get("model_dir")
        gpu = torch.cuda.is_available() and properties.get("gpu_id") is not None
        self.device = torch.device("cuda:" + str(properties.get("gpu_id")) if gpu else "cpu")
        model_path = os.path.join(model_dir, self.manifest["model"]["serializedFile"])
        if not os.path.isfile(model_path):
            raise RuntimeError("Missing the model.pt file")
        self.model = torch.jit.load(model_path, map_location=self.device)
        self.model.to(self.device)
        self.model.eval()
        with open(os.path.join(model_dir, "setup_config.json")) as file:
            self.setup_config = json.load(file)
        if any(name for name in os.listdir(model_dir) if name.startswith("vocab.") and os.path.isfile(name)):
            self.vocabulary = [line.strip() for line in open("vocab.txt")]
        with open(os.path.join(model_dir, "index_to_name.json")) as file:
            self.mapping = json.load(file)
        self.max_length = ctx.model_yaml_config["handler"]["max_length"]
        logger.info("model from path %s loaded successfully", model_dir)
        self.initialized = True

    def preprocess(self, requests):
        rows = []
        for data in requests:
            text = data.get("data")
            if text is None:
                text = data.get("body")
            if isinstance(text, (bytes, bytearray)):
                text = text.decode("utf-8")
            logger.info("Received text: '%s'", text)
            if self.setup_config["do_lower_case"]:
                text = text.lower()
            words = text.split()[: self.max_length]
            rows.append([float(words.count(word)) for word in self.vocabulary])
        return torch.tensor(rows, device=self.device)

    def inference(self, batch):
        scores = self.model(batch)
        print("This the output size from the model", scores.size())
        return [self.mapping[str(row.argmax().item())] for row in scores]

    def postprocess(self, answers):
        return answers
