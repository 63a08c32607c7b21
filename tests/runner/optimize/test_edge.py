from __future__ import annotations

import inspect

import pytest
import torch

from runner.optimize.edge import Edge, Layer, Watch
from tests.runner.optimize.models import CPU, Scores, rows


def test_the_module_keeps_its_class_attributes_and_signature():
    module = Scores()
    Edge(module).attach()
    assert type(module) is Scores
    assert module.labels == ["a", "b"]
    assert list(inspect.signature(module.forward).parameters) == ["x"]
    assert len(list(module.eval().parameters())) == 6


def test_every_way_to_call_the_module_comes_through_the_edge():
    module = Scores()
    edge = Edge(module)
    edge.attach()
    edge.layers.append(Layer(after=lambda tensor: tensor * 0))
    outer = torch.nn.Sequential(module)
    assert not any(call(rows(2)).any() for call in (module, module.forward, outer))


def test_detached_it_leaves_no_trace():
    module = Scores()
    edge = Edge(module)
    edge.attach()
    assert Edge.of(module) is edge
    edge.detach()
    assert "forward" not in module.__dict__
    assert Edge.of(module) is None


def test_a_forward_that_someone_else_had_replaced_comes_back():
    module = Scores()
    theirs = module.forward = lambda x: x + 1
    edge = Edge(module)
    edge.attach()
    edge.detach()
    assert module.forward is theirs


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_torchscript_module_has_an_edge_too():
    module = torch.jit.trace(torch.nn.Linear(6, 2), rows(1))
    edge = Edge(module)
    edge.attach()
    edge.layers.append(Layer(after=lambda tensor: tensor * 0))
    assert not module(rows(1)).any()
    edge.detach()
    assert module(rows(1)).any()


def test_layers_convert_inward_and_outward_in_opposite_order():
    module = torch.nn.Identity()
    edge = Edge(module)
    edge.attach()
    edge.layers += [Layer(lambda t: t + 1, after=lambda t: t * 10), Layer(lambda t: t * 2, after=lambda t: t + 3)]
    assert module(torch.tensor(1)).item() == ((1 + 1) * 2 + 3) * 10


def test_a_watch_keeps_what_the_handler_saw():
    module = torch.nn.Identity()
    edge = Edge(module)
    edge.attach()
    edge.layers.append(Layer(before=torch.neg))
    edge.watch = watch = Watch(CPU, copies=True)
    given = torch.ones(1)
    module(given)
    given.zero_()
    (call,) = watch.calls
    assert (call.inputs[0][0].item(), call.output.item()) == (1.0, -1.0)
    assert call.seconds > 0
