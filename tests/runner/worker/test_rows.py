from __future__ import annotations

import dataclasses
import io
import json
import math

import numpy as np
import pytest
import torch

from runner import wire
from runner.handlers.context import RequestProcessor
from runner.handlers.errors import BadRequest
from runner.worker import rows
from tests.runner.worker.sessions import raw_row


@dataclasses.dataclass
class Box:
    x: int


#: They are Python's, not the web's; some take time that grows with the square of a text's length.
CODECS = ("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf-7")


def decoded(body: bytes, content_type: str):
    return rows.decode(raw_row(body, content_type))["body"]


@pytest.mark.parametrize(
    ("body", "content_type", "value"),
    [
        (b'{"a": [1, 2.5, null]}', "application/json", {"a": [1, 2.5, None]}),
        (b'"x"', "application/json; charset=utf-8", "x"),
        (b'"x"', "Application/JSON;charset=UTF-8", "x"),
        ('"é"'.encode("latin-1"), "application/json; charset=latin-1", "é"),
        (b"1e999", "application/json", math.inf),
        (b"123456789012345678901234567890", "application/json", 123456789012345678901234567890),
        (b"\xef\xbb\xbf{}", "application/json", {}),
        ("grün".encode(), "text/plain", "grün"),
        ("grün".encode("latin-1"), "text/plain; charset=iso-8859-1", "grün"),
        (b"<p>", "text/html", "<p>"),
        (b"\x00\x01", "application/octet-stream", bytearray(b"\x00\x01")),
        (b"{}", "application/vnd.api+json", bytearray(b"{}")),
        (b"x", "", bytearray(b"x")),
        (b"x", "nonsense;;;=", bytearray(b"x")),
    ],
)
def test_a_body_is_decoded_by_its_content_type(body, content_type, value):
    result = decoded(body, content_type)

    assert result == value
    assert type(result) is type(value)


def test_nan_is_read_as_python_reads_it():
    assert math.isnan(decoded(b"NaN", "application/json"))


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        (b'{"a": 1,}', "application/json", "the body is not valid JSON: "),
        (b"{'a': 1}", "application/json", "at line 1 column 2 (character 1)"),
        (b"", "application/json", "the body is announced as JSON but is empty"),
        (b'"\xff"', "application/json", "the body is not valid JSON: invalid start byte at byte 1"),
        (b"[" * 100_000, "application/json", "the JSON is nested too deeply"),
        (b"\xff", "text/plain", "the text is not valid utf-8: invalid start byte at byte 0"),
        (b"x", "text/plain; charset=klingon", "unknown charset klingon"),
        (b"x", "text/plain; charset=utf\0", "unknown charset utf"),
        (b"x", "text/plain; charset=zlib", "the text is not valid zlib"),
        *((b"x", f"text/plain; charset={name}", f"unknown charset {name}") for name in CODECS),
        (b"9" * 5000, "application/json", "the JSON holds a whole number with too many digits"),
    ],
)
def test_a_body_that_is_not_what_it_says_is_the_clients_mistake(body, content_type, message):
    with pytest.raises(BadRequest) as refused:
        decoded(body, content_type)

    assert message in str(refused.value)


def test_fields_arrive_by_name_and_the_last_of_a_name_wins():
    row = wire.Row(
        "r", [("a", "text/plain", b"1"), ("b", "application/json", b"[2]"), ("a", "text/plain", b"3")], b""
    )

    assert rows.decode(row) == {"a": "3", "b": [2]}


@pytest.mark.parametrize(
    ("value", "content_type", "body"),
    [
        ("grün", rows.TEXT_TYPE, "grün".encode()),
        (b"\x00", rows.BINARY_TYPE, b"\x00"),
        (bytearray(b"\x00"), rows.BINARY_TYPE, b"\x00"),
        ({"a": 1, 2: [None, True]}, rows.JSON_TYPE, b'{"a":1,"2":[null,true]}'),
        ([math.nan, math.inf], rows.JSON_TYPE, b"[NaN,Infinity]"),
        (np.float32(0.5), rows.JSON_TYPE, b"0.5"),
        (np.arange(3), rows.JSON_TYPE, b"[0,1,2]"),
        ({"n": np.array([math.nan, 1.0])}, rows.JSON_TYPE, b'{"n":[NaN,1.0]}'),
        ({"t": torch.ones(2), "none": None}, rows.JSON_TYPE, b'{"t":[1.0,1.0],"none":null}'),
        ({True: 1}, rows.JSON_TYPE, b'{"true":1}'),
        ({"box": Box(1), "none": None}, rows.JSON_TYPE, b'{"box":{"x":1},"none":null}'),
        (1 << 80, rows.JSON_TYPE, b"1208925819614629174706176"),
        (None, rows.JSON_TYPE, b"null"),
    ],
)
def test_an_answer_is_encoded_by_its_type(value, content_type, body):
    assert rows.encode(value, None) == wire.Reply(200, "", content_type, [], body)


def test_a_tensor_is_sent_as_torch_saves_it():
    reply = rows.encode(torch.arange(3), None)

    assert torch.load(io.BytesIO(reply.body)).tolist() == [0, 1, 2]


def circular() -> list:
    value: list = []
    value.append(value)
    return value


@pytest.mark.parametrize("value", [object(), {"a": object()}, {(1, 2): 3}, circular(), "\ud800"])
def test_an_answer_that_cannot_be_sent_is_that_rows_error(value, caplog):
    reply = rows.encode(value, None)

    assert json.loads(reply.body) == {
        "code": 503,
        "type": "InternalServerException",
        "message": "Unsupported model output data type.",
    }
    assert reply.status == 503
    assert "the answer cannot be sent" in caplog.text


def test_the_handlers_status_and_headers_travel_with_the_answer():
    processor = RequestProcessor({})
    processor.report_status(201, "Made")
    processor.add_response_property("x-n", 5)
    processor.add_response_property("Content-Type", "text/csv")

    assert rows.encode("a,b", processor) == wire.Reply(201, "Made", "text/csv", [("x-n", "5")], b"a,b")
