"""Service envelopes: what the handler sees, and what each request of a batch is answered."""

from __future__ import annotations

import base64
import importlib
import json

import pytest

from runner import wire
from runner.compat import hook
from tests.runner.worker.sessions import bodies, json_row, opened, raw_row

DOUBLE = """
def handle(data, context):
    if data is None:
        return None
    context.sizes = [*getattr(context, "sizes", []), len(data)]
    return [[2 * x for x in row] if isinstance(row, list) else 2 * row for row in data]
"""
SEES = "def handle(data, context):\n    return data and [repr(row) for row in data]\n"


def enveloped(folder, envelope, source=DOUBLE):
    return opened(folder, source, envelope=envelope)


def test_body_gives_the_handler_payloads(tmp_path):
    ran = enveloped(tmp_path, "body").run([json_row(1), json_row([2])], 1)

    assert bodies(ran) == [(200, 2), (200, [4])]


@pytest.mark.parametrize("envelope", ["json", "kserve"])
def test_the_instances_of_every_request_make_one_batch_and_return_to_their_own(tmp_path, envelope):
    session = enveloped(tmp_path, envelope)

    ran = session.run([json_row({"instances": part}) for part in ([1, 2], [], [3])], 1)

    answers = [json.loads(body) if isinstance(body, str) else body for _, body in bodies(ran)]
    assert answers == [{"predictions": [2, 4]}, {"predictions": []}, {"predictions": [6]}]
    assert session._context.sizes == [3]


def test_json_decodes_base64_alone_and_in_fields(tmp_path):
    packed = {"b64": base64.b64encode(b"hi").decode()}

    ran = enveloped(tmp_path, "json", SEES).run([json_row({"instances": [packed, {"a": packed, "b": 1}]})], 1)

    [(_, text)] = bodies(ran)
    assert json.loads(text) == {"predictions": ["b'hi'", "{'a': b'hi', 'b': 1}"]}


def test_kserve_names_explanations_as_such(tmp_path):
    ran = enveloped(tmp_path, "kserve").run([json_row({"instances": [1]}, explain="True")], 1)

    assert bodies(ran) == [(200, {"explanations": [2]})]


def tensor(name, data, shape, datatype="INT64"):
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def test_kservev2_answers_every_request_with_its_own_tensors_in_their_shapes(tmp_path):
    rows = [
        json_row({"id": "a", "inputs": [tensor("x", [1, 2, 3, 4], [4]), tensor("y", [5], [1])]}),
        json_row({"id": "b", "inputs": [tensor("z", [0.5], [1], "FP32")]}),
    ]

    answers = [body for _, body in bodies(enveloped(tmp_path, "kservev2").run(rows, 1))]

    assert answers[0] == {
        "id": "a",
        "model_name": "m",
        "model_version": "1.0",
        "outputs": [tensor("x", [2, 4, 6, 8], [4]), tensor("y", [10], [1])],
    }
    assert (answers[1]["id"], answers[1]["outputs"]) == ("b", [tensor("z", [1.0], [1], "FP64")])


def test_kservev2_gives_the_handler_nested_lists_and_single_texts(tmp_path):
    inputs = [tensor("x", [1, 2, 3, 4], [2, 2]), tensor("t", ["hello"], [1], "BYTES")]

    [(_, answer)] = bodies(enveloped(tmp_path, "kservev2", SEES).run([json_row({"inputs": inputs})], 1))

    assert [output["data"] for output in answer["outputs"]] == [["[[1, 2], [3, 4]]"], ["'hello'"]]
    assert {output["datatype"] for output in answer["outputs"]} == {"BYTES"}


@pytest.mark.parametrize(
    ("envelope", "body", "message"),
    [
        ("json", b"[1]", "the body must be a JSON object"),
        ("json", b"no json", "the body is not valid JSON: Expecting value: line 1 column 1 (char 0)"),
        ("json", b'{"instances": [{"b64": 7}]}', "an instance's b64 is not base64"),
        ("kserve", b'{"inputs": []}', 'the body must be {"instances": [...]}'),
        ("kservev2", b"{}", 'the body must be {"inputs": [{"name", "shape", "datatype", "data"}, ...]}'),
        (
            "kservev2",
            b'{"inputs": [{"name": "x", "shape": [3], "data": [1]}]}',
            "input x: 1 elements do not fill the shape [3]",
        ),
    ],
)
def test_a_body_that_breaks_the_protocol_is_a_bad_request(tmp_path, envelope, body, message):
    raised = enveloped(tmp_path, envelope).run([raw_row(body)], 1)

    assert isinstance(raised, wire.Raised)
    assert (raised.status, raised.message) == (400, message)


def test_an_answer_to_each_input_is_demanded(tmp_path):
    raised = enveloped(tmp_path, "json", "def handle(data, context):\n    return data and data[:1]\n").run(
        [json_row({"instances": [1, 2]})], 1
    )

    assert isinstance(raised, wire.Raised)
    assert "the handler returned 1 answers to 2 inputs" in "".join([raised.message, *raised.trace])


def test_a_handler_may_wrap_itself(tmp_path):
    hook.install()
    envelope = importlib.import_module("ts.torch_handler.request_envelope.body").BodyEnvelope(lambda data, ctx: data)

    assert envelope.parse_input([{"data": 1}, {"body": 2}]) == [1, 2]
    assert envelope.format_output([3, 4]) == [3, 4]
