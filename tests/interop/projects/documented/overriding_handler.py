"""Of the base class all but two methods; what it has read is used: the mapping, the context, the target."""

import torch
from ts.torch_handler.base_handler import BaseHandler
from ts.utils.util import map_class_to_label


class Overriding(BaseHandler):
    def preprocess(self, data):
        rows = [row.get("data") or row.get("body") for row in data]
        rows = [row["instances"][0] if isinstance(row, dict) else row for row in rows]
        return torch.as_tensor(rows, dtype=torch.float32, device=self.device)

    def postprocess(self, data):
        probabilities, classes = torch.topk(data.exp(), 2, dim=1)
        answers = map_class_to_label(probabilities.round(decimals=4).tolist(), self.mapping, classes.tolist())
        return [{**answer, "asked": self.context.get_request_header(0, "x-asked")} for answer in answers]

    def get_insights(self, tensor_data, raw_data, target):
        return [{"words": raw_data, "target": int(target), "shape": list(tensor_data.shape)}]

    def describe_handle(self):
        return {"classes": sorted(self.mapping.values()), "from": self.manifest["model"]["modelFile"]}
