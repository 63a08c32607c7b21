"""The handler in the archive that torch-archive and TorchServe serve: a class as TorchServe documents it."""

import json

import workloads


class WorkloadHandler:
    def initialize(self, context):
        self.predict = workloads.load(context.model_yaml_config["handler"]["workload"])

    def handle(self, data, context):
        return self.predict([_input(row) for row in data])


def _input(row):
    body = row.get("body") or row.get("data")
    return (json.loads(body) if isinstance(body, (bytes, bytearray)) else body)["x"]
