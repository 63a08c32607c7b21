from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from runner.handlers import BadRequest, Context, Handler, PredictionException
from runner.handlers.errors import RowFailed
from tests.runner.handlers.nets import state, write_net


class Doubler(Handler):
    """Twice the number in the body; "bad" and "worse" fail alone."""

    def load_model(self):
        return lambda batch: batch * 2

    def preprocess(self, payload):
        if payload == "bad":
            raise BadRequest("a number, please")
        if payload == "teapot":
            raise PredictionException("short and stout", 418)
        return torch.tensor(float(payload))

    def postprocess(self, output):
        return 1 / output.item()


def make_context(folder=None, **manifest) -> Context:
    return Context("m", str(folder or "."), {"model": manifest}, 8, None, "0")


def ready(handler: Handler, context: Context | None = None) -> Handler:
    handler.initialize(context or make_context())
    return handler


def handle(handler: Handler, *payloads):
    return handler.handle([{"body": payload} for payload in payloads], make_context())


def test_a_row_whose_part_raises_fails_alone_and_its_neighbours_go_on(caplog):
    answers = handle(ready(Doubler()), "1", "bad", "2", "x", "0", "teapot")

    assert answers == [
        0.5,
        RowFailed(400, "BadRequestException", "a number, please"),
        0.25,
        RowFailed(503, "InternalServerException", "Prediction failed"),
        RowFailed(503, "InternalServerException", "Prediction failed"),
        RowFailed(418, "InternalServerException", "short and stout"),
    ]
    assert "preprocess failed for one row" in caplog.text
    assert "postprocess failed for one row" in caplog.text


def test_a_batch_of_which_no_row_is_left_does_not_reach_the_model():
    handler = ready(Doubler())
    handler.model = None

    assert [answer.status for answer in handle(handler, "bad", "bad")] == [400, 400]


def test_memory_running_out_in_one_row_is_the_batchs_failure():
    class Greedy(Doubler):
        def preprocess(self, payload):
            raise MemoryError

    with pytest.raises(MemoryError):
        handle(ready(Greedy()), "1")


def test_the_default_model_comes_from_the_archive_and_serves_without_gradients(tmp_path):
    write_net(tmp_path, name="default_net.py")
    torch.save(state(), tmp_path / "w.pt")
    context = make_context(tmp_path, serializedFile="w.pt", modelFile="default_net.py")

    handler = ready(Handler(), context)

    assert handle(handler, [1.0, 1.0], [2.0, 0.0]) == [[2.0, 4.0, 6.0], [2.0, 4.0, 6.0]]
    assert not any(parameter.requires_grad for parameter in handler.model.parameters())
    assert context.weights == {"file": "w.pt", "format": "state dict", "way": "built on meta, weights mapped"}


@pytest.mark.parametrize(
    ("row", "payload"),
    [
        ({"body": {"a": 1}}, {"a": 1}),
        ({"data": bytearray(b"x")}, b"x"),
        ({"image": bytearray(b"x")}, {"image": b"x"}),
        ({"data": "x", "k": "2"}, {"data": "x", "k": "2"}),
        ({}, {}),
    ],
)
def test_the_payload_is_the_body_or_all_fields(row, payload):
    seen = []

    class Spy(Doubler):
        def preprocess(self, payload):
            seen.append(payload)
            return 1

    ready(Spy()).handle([row], make_context())

    assert seen == [payload]
    assert type(seen[0]) is type(payload)


def test_mappings_become_keyword_arguments_and_outputs_are_cut_by_row():
    class Pair(Handler):
        def load_model(self):
            return lambda a, b: {"sum": a + b, "both": (a, b)}

        def preprocess(self, payload):
            return {"a": payload[0], "b": payload[1]}

    assert handle(ready(Pair()), [1, 2], [3, 4]) == [{"sum": 3, "both": [1, 2]}, {"sum": 7, "both": [3, 4]}]


def test_tuples_become_several_arguments():
    class Two(Handler):
        def load_model(self):
            return lambda a, b: a * b

        def preprocess(self, payload):
            return tuple(payload)

    assert handle(ready(Two()), [2, 3], [4, 5]) == [6, 20]


def test_texts_reach_the_model_as_one_list():
    class Lengths(Handler):
        def load_model(self):
            return lambda texts: [len(text) for text in texts]

        def preprocess(self, payload):
            return payload

    assert handle(ready(Lengths()), "a", "four") == [1, 4]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (torch.ones(3, 2), r"an output of shape \(3, 2\) cannot be cut into 2 rows"),
        (torch.tensor(1.0), r"an output of shape \(\) cannot be cut into 2 rows"),
        ([1], "split\\(\\) returned 1 rows for a batch of 2"),
        (object(), "an output of type object cannot be cut into rows"),
    ],
)
def test_an_output_that_does_not_fit_the_batch_says_so(output, message):
    class Wrong(Handler):
        def load_model(self):
            return lambda batch: output

    with pytest.raises(ValueError, match=message):
        handle(ready(Wrong()), [1.0], [2.0])


def test_top_names_the_best_classes(tmp_path):
    (tmp_path / "index_to_name.json").write_text(json.dumps({"0": "cat", "2": ["n02", "dog"]}))

    class Ranked(Handler):
        def load_model(self):
            return nn.Identity()

    handler = ready(Ranked(), make_context(tmp_path))

    assert list(handler.top(torch.tensor([1.0, 0.0, 2.0]))) == ["dog", "cat", "1"]
    assert sum(handler.top(torch.tensor([1.0, 0.0, 2.0])).values()) == pytest.approx(1)


def test_the_stages_are_timed():
    context = make_context()

    ready(Doubler()).handle([{"body": "1"}], context)

    assert set(context.seconds) == {"preprocess", "inference", "postprocess"}


def test_the_batch_is_on_the_handlers_device():
    handler = Handler()
    handler.device = torch.device("meta")

    batch = handler.collate([{"x": torch.ones(2)}, {"x": torch.ones(2)}])

    assert (batch["x"].shape, batch["x"].device.type) == ((2, 2), "meta")


def test_an_output_object_with_attributes_needs_its_own_split():
    with pytest.raises(ValueError, match="SimpleNamespace cannot be cut into rows; override split"):
        Handler().split(SimpleNamespace(logits=torch.ones(2)), 2)
