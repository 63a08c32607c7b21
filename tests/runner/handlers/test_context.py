from __future__ import annotations

from runner import wire
from runner.handlers.context import Context, RequestProcessor


def make_context(**arguments) -> Context:
    return Context("digits", "/models/digits", {"model": {}}, 4, None, "0.1", **arguments)


def make_row(row_id: str = "r1", **headers: str) -> wire.Row:
    packed = wire.pack_headers([(name.encode(), value.encode()) for name, value in headers.items()])
    return wire.Row(row_id, [("body", "application/json", b"{}")], packed)


def test_system_properties_are_torchserves():
    assert make_context().system_properties == {
        "model_dir": "/models/digits",
        "gpu_id": None,
        "batch_size": 4,
        "server_name": "MMS",
        "server_version": "0.1",
        "limit_max_image_pixels": True,
    }


def test_headers_are_found_in_any_case():
    context = make_context()
    context.begin([make_row(accept="text/plain")])

    assert context.get_request_header(0, "Accept") == "text/plain"
    assert context.get_request_header(0, "x-none") is None
    assert "ACCEPT" in context.get_all_request_header(0)
    assert "x-none" not in context.get_all_request_header(0)
    assert context.get_all_request_header(0)["body"] == {"content-type": "application/json"}


def test_request_ids_are_by_row_and_gone_after_the_batch():
    context = make_context()
    assert context.get_request_id(0) is None

    context.begin([make_row("a"), make_row("b")])
    assert (context.request_ids, context.get_request_id(1)) == ({0: "a", 1: "b"}, "b")

    context.begin(())
    assert context.request_ids is None


def test_nothing_is_made_for_a_handler_that_does_not_ask():
    context = make_context()

    context.begin([make_row()])

    assert context.touched is None


def test_status_and_headers_of_each_row_are_kept_apart():
    context = make_context()
    context.begin([make_row("a"), make_row("b")])

    context.set_response_status(404, "no such thing", 1)
    context.set_response_header(0, "x-model", "digits")
    context.set_response_content_type(0, "text/csv")

    assert [context.get_response_status(row) for row in (0, 1)] == [(200, None), (404, "no such thing")]
    assert context.get_response_headers(0) == {"x-model": "digits", "content-type": "text/csv"}
    assert context.get_response_content_type(0) == "text/csv"
    assert context.get_response_headers(1) == {}


def test_all_rows_can_get_one_status():
    context = make_context()
    context.begin([make_row("a"), make_row("b")])

    context.set_all_response_status(202, "later")

    assert [context.get_response_status(row)[0] for row in (0, 1)] == [202, 202]


def test_the_sequence_id_is_a_header_whose_name_the_environment_may_set(monkeypatch):
    monkeypatch.setenv("TS_REQUEST_SEQUENCE_ID", "x-session")
    context = make_context()
    context.begin([make_row(**{"x-session": "s-7"})])

    assert context.get_sequence_id(0) == "s-7"


def test_a_request_processor_made_from_a_mapping_works_as_in_torchserves_own_tests():
    processor = RequestProcessor({"explain": "True"})

    assert processor.get_request_property("explain") == "True"
    assert processor.get_response_header("x") is None


def test_the_device_follows_from_the_gpu_number_when_none_is_given():
    assert Context("m", "d", {}, 1, 2, "0").device == "cuda:2"
    assert make_context().device == "cpu"
