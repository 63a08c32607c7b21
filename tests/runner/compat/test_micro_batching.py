from __future__ import annotations

import pytest

from runner import wire
from tests.runner.worker.sessions import bodies, json_row, opened

HANDLER = """
import threading

import torch
from ts.handler_utils.micro_batching import MicroBatching
from ts.torch_handler.base_handler import BaseHandler


class Micro(BaseHandler):
    def initialize(self, context):
        self.device, self.names, self.initialized = torch.device("cpu"), {}, True
        settings = context.model_yaml_config["micro_batching"]
        self.batching = MicroBatching(self, settings["micro_batch_size"])
        self.batching.parallelism = settings["parallelism"]
        self.handle = self.batching

    def preprocess(self, data):
        self.names["preprocess"] = threading.current_thread().name
        if any(row["body"] == "bad" for row in data):
            raise ValueError("a bad row")
        return torch.tensor([row["body"] for row in data])

    def inference(self, data):
        return [(len(data), value) for value in (data * 2).tolist()]

    def postprocess(self, data):
        return data

    def describe_handle(self):
        return {"about": "parts"}
"""
CONFIG = {"batchSize": 8, "micro_batching": {"micro_batch_size": 2, "parallelism": {"preprocess": 2}}}


@pytest.fixture
def session(tmp_path):
    opened_session = opened(tmp_path, HANDLER, config=CONFIG)
    yield opened_session
    opened_session._entry.instance.batching.shutdown()


def test_a_batch_goes_through_the_stages_in_parts_and_comes_back_in_order(session):
    ran = session.run([json_row(n) for n in range(5)], 1)

    assert [body for _, body in bodies(ran)] == [[2, 0], [2, 2], [2, 4], [2, 6], [1, 8]]
    assert session._entry.instance.names["preprocess"].startswith("preprocess_")
    assert [metric.name for metric in ran.metrics] == ["HandlerTime"]


def test_a_part_that_raises_fails_the_batch_and_leaves_the_threads_working(session):
    raised = session.run([json_row("bad"), json_row(1)], 1)

    assert isinstance(raised, wire.Raised)
    assert bodies(session.run([json_row(1)], 2)) == [(200, [1, 2])]


def test_a_request_for_the_description_is_not_cut(session):
    assert bodies(session.run([json_row(1, describe="True")], 1)) == [(200, {"about": "parts"})]


def test_parallelism_is_what_was_set(session):
    batching = session._entry.instance.batching
    batching.parallelism = {"inference": 3}

    assert batching.parallelism == {"preprocess": 2, "inference": 3}


def test_a_part_knows_its_number_and_parts_can_be_had_without_a_context(tmp_path):
    source = HANDLER.replace(
        "return [(len(data), value) for value in (data * 2).tolist()]",
        "return [self.batching.get_micro_batch_idx() for _ in data]",
    )
    session = opened(tmp_path, source, config=CONFIG)
    batching = session._entry.handle

    assert batching.handle([{"body": number} for number in range(5)]) == [0, 0, 1, 1, 2]
    assert batching.get_micro_batch_idx() is None
    assert [answer for _, answer in bodies(session.run([json_row(1)] * 3, 1))] == [0, 0, 1]
