"""What users import to write a handler.

from runner.handlers import BadRequest, Handler

class Digits(Handler):
    def preprocess(self, payload):
        return torch.tensor(payload["pixels"], dtype=torch.float32).reshape(1, 8, 8) / 16

    def postprocess(self, output):
        return {"digit": int(output.argmax())}
"""

from runner.handlers.context import Context
from runner.handlers.errors import BadRequest, PredictionException
from runner.handlers.handler import Handler

__all__ = ["BadRequest", "Context", "Handler", "PredictionException"]
