"""An explanation needs gradients and hooks, which compiled code does not have: the module as loaded answers."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch

from runner import wire
from tests.runner.handlers.nets import write_net
from tests.runner.worker.sessions import bodies, json_row, opened

NET = """
import torch
from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 4))
"""
HANDLER = """
import torch
from ts.torch_handler.base_handler import BaseHandler


class Explains(BaseHandler):
    def preprocess(self, data):
        return torch.tensor([row["body"] for row in data], dtype=torch.float32)

    def get_insights(self, tensor, inputs, target):
        seen = []
        hook = self.model[0].register_forward_hook(lambda *_: seen.append(1))
        tensor.requires_grad_(True)
        (slope,) = torch.autograd.grad(self.model(tensor)[:, target].sum(), tensor)
        hook.remove()
        return [{"slope": slope[0].tolist(), "hooks": len(seen)}]
"""
SAMPLE = [0.5] * 8
COMPILED = {"pt2": {"compile": {"enable": True, "backend": "inductor"}, "minSpeedup": 0.0001, "timeout": 300}}


def explained_by(folder, source=HANDLER, **config):
    """A session with `config` applied, and its first answer to a request for an explanation."""
    write_net(folder, NET)
    (folder / "sample.json").write_text(json.dumps(SAMPLE))
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 4))
    torch.save(net.state_dict(), folder / "w.pt")
    settings = {"batchSize": 2, "warmup": {"input": "sample.json"}, **config}
    session = opened(folder, source, config=settings, modelFile="net.py", serializedFile="w.pt")
    inputs = torch.tensor([SAMPLE], requires_grad=True)
    (slope,) = torch.autograd.grad(net(inputs)[:, 0].sum(), inputs)
    return session, slope[0].tolist(), session.run([json_row(SAMPLE, explain="True")], 1)


def test_an_explanation_of_a_model_that_is_compiled_while_it_runs_is_eagers(tmp_path):
    compiled = {"pt2": {**COMPILED["pt2"], "compile": {"enable": True, "backend": "aot_eager"}}}
    session, slope, answer = explained_by(tmp_path, **compiled)

    assert bodies(answer) == [(200, {"slope": pytest.approx(slope), "hooks": 1})]
    assert session._guard.recompiles == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_explanation_of_a_model_that_was_compiled_ahead_of_time_is_eagers(tmp_path):
    session, slope, answer = explained_by(tmp_path, **COMPILED)

    assert session._guard is not None
    assert bodies(answer) == [(200, {"slope": pytest.approx(slope), "hooks": 1})]
    assert session._guard.failures == session._guard.recompiles == 0


def test_an_explanation_of_a_model_in_fewer_bits_comes_in_those_bits(tmp_path):
    _, slope, answer = explained_by(tmp_path, precision="bf16")

    assert bodies(answer) == [(200, {"slope": pytest.approx(slope, abs=0.01), "hooks": 1})]


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="needs torch-archive[quantize]")
def test_a_model_whose_layers_round_their_inputs_cannot_be_explained(tmp_path):
    session, _, answer = explained_by(tmp_path, quantization={"scheme": "int8-dynamic"}, verify={"minCosine": 0.9})

    assert isinstance(answer, wire.Raised)
    assert (answer.status, answer.message) == (
        501,
        "this model cannot be explained: quantization int8-dynamic rounds what goes into its layers",
    )
    assert bodies(session.run([json_row(SAMPLE)], 2))[0][0] == 200


def test_an_asynchronous_handlers_explanation_is_eagers_too(tmp_path):
    source = """
from runner.handlers import gradients


class Asks:
    async def handle(self, data, context):
        return [gradients.are_needed() for _ in data]
"""
    session = opened(tmp_path, source)

    rows = [json_row(1, explain="True"), json_row(1), json_row(1, explain="False")]
    assert [answer for _, answer in bodies(session.run(rows, 1))] == [True, False, False]
    session.close()
