"""Several files, and folders of them."""

import os

from ts.torch_handler.base_handler import BaseHandler

import helpers
from parts.inner import louder


class Packaged(BaseHandler):
    def initialize(self, context):
        self.words = open(os.path.join(context.system_properties["model_dir"], "words.txt")).read().split()
        self.initialized = True

    def preprocess(self, data):
        return [helpers.text_of(row) for row in data]

    def inference(self, texts):
        return [louder(text) for text in texts]

    def postprocess(self, texts):
        return [[text, text.lower() in self.words] for text in texts]
