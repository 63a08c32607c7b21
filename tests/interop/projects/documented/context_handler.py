"""What a context says and what it is told."""

from ts.handler_utils.utils import send_intermediate_predict_response
from ts.utils.util import PredictionException

KINDS = {
    "text": "words", "bytes": b"\x00\x01", "number": 1.5, "whole": 3, "nothing": None, "true": True,
    "list": [1, [2, "three"]], "object": {"a": {"b": None}},
}  # fmt: skip


class Said:
    def initialize(self, context):
        self.properties = context.system_properties

    def handle(self, data, context):
        question = data[0].get("question")
        question = question.decode() if isinstance(question, (bytes, bytearray)) else question
        if question in KINDS:
            return [KINDS[question]]
        return [getattr(self, question)(data[0], context)]

    def status(self, row, context):
        context.set_response_status(code=202, phrase="Taken", idx=0)
        context.set_response_header(0, "x-left", "2")
        return {"left": 2}

    def all_status(self, row, context):
        context.set_all_response_status(404, "None there")
        return "nothing found"

    def refused(self, row, context):
        raise PredictionException("Some Prediction Error", 513)

    def memory(self, row, context):
        raise MemoryError("too much")

    def cuda(self, row, context):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    def unserialisable(self, row, context):
        return {"no": object()}

    def fields(self, row, context):
        return {name: type(value).__name__ for name, value in sorted(row.items())}

    def headers(self, row, context):
        names = ("Content-Type", "url_path", "explain", "x-mine", "nothing")
        told = context.get_all_request_header(0)
        return [[name, context.get_request_header(0, name), told.get(name)] for name in names]

    def known(self, row, context):
        names = ("batch_size", "gpu_id", "server_name", "limit_max_image_pixels")
        ids = [len(context.request_ids), context.get_request_id(0) == context.request_ids[0]]
        return [[self.properties.get(name) for name in names], context.model_name, ids]

    def pieces(self, row, context):
        for word in ("hello ", "again "):
            send_intermediate_predict_response(
                [word], context.request_ids, "Intermediate Prediction success", 200, context
            )
        return "and good-bye"
