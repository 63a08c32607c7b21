from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import torch

from runner import wire
from runner.worker.session import LoadError
from tests.runner.handlers.nets import state, write_net
from tests.runner.worker.sessions import bodies, json_row, make_session, opened, raw_row

CLASS = """
from runner.handlers import BadRequest, Handler


class Mine(Handler):
    def load_model(self):
        return lambda batch: batch * 2
"""


def failed_to_open(folder: Path, source: str | None, **arguments) -> LoadError:
    with pytest.raises(LoadError) as failure:
        opened(folder, source, **arguments)
    return failure.value


class TestOpening:
    def test_the_process_becomes_the_models(self, tmp_path):
        opened(tmp_path)

        assert Path.cwd() == tmp_path
        assert sys.path[0] == str(tmp_path)
        assert torch.get_num_threads() == 1
        assert os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "1"

    def test_only_a_trusted_archive_may_unpickle_anything(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")

        opened(tmp_path, trusted=True)

        assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ

    def test_a_handlers_own_torch_load_is_gated_too(self, tmp_path):
        torch.save(torch.nn.Linear(1, 1), tmp_path / "m.pt")
        source = "import torch\n\ndef handle(data, context):\n    return torch.load('m.pt', weights_only=False)\n"

        assert failed_to_open(tmp_path, source).kind == "UntrustedPickle"

    def test_the_report_says_what_was_loaded_and_measured(self, tmp_path):
        write_net(tmp_path)
        torch.save(state(), tmp_path / "w.pt")
        (tmp_path / "sample.json").write_text("[1, 1]")
        source = """
import torch
from runner.handlers import Handler


class Mine(Handler):
    def preprocess(self, payload):
        return torch.tensor(payload, dtype=torch.float32)
"""
        session = make_session(
            tmp_path,
            source,
            config={"batchSize": 6, "warmup": {"input": "sample.json", "iterations": 2}},
            serializedFile="w.pt",
            modelFile="net.py",
        )

        report = session.open()

        assert (report["device"], report["threads"], report["handler"]) == ("cpu", 1, "handler:Mine")
        assert report["torch"] == torch.__version__
        assert report["weights"]["way"] == "built on meta, weights mapped"
        assert list(report["warmup"]["milliseconds"]) == ["1", "2", "4", "6"]
        assert report["warmup"]["input"] == "sample.json"
        assert json.loads(json.dumps(report)) == report
        assert wire.Decoder().feed(wire.encode(wire.Loaded(0.1, report, 0)))
        assert bodies(session.run([json_row([1, 1])], 1)) == [(200, [2.0, 4.0, 6.0])]

    def test_our_own_key_names_the_class_where_torchserves_has_the_file_alone(self, tmp_path):
        source = f"{CLASS}\nclass Other(Mine):\n    pass\n"

        assert make_session(tmp_path, source, handlerClass="Other").open()["handler"] == "handler:Other"

    def test_without_a_sample_nothing_is_exercised(self, tmp_path):
        assert make_session(tmp_path).open()["warmup"] == {"input": None, "milliseconds": {}}

    def test_the_context_holds_the_yaml_as_the_user_wrote_it(self, tmp_path):
        source = "def handle(data, context):\n    return [context.model_yaml_config for _ in data or []]\n"

        session = opened(tmp_path, source, config={"handler": {"top": 3}})

        assert bodies(session.run([json_row(1)], 1)) == [(200, {"handler": {"top": 3}})]


class TestBadHandlersAtLoad:
    @pytest.mark.parametrize(
        ("source", "kind", "message"),
        [
            ("x = 1\n", "CannotLoad", "handler.py defines no handler"),
            (f"{CLASS}\nclass Other(Mine):\n    pass\n", "CannotLoad", "handler.py defines 2 handlers: Mine, Other"),
            ("import no_such_package\n", "ModuleNotFoundError", "No module named 'no_such_package'"),
            ("def handle(data, context)\n", "SyntaxError", "expected ':' (handler.py, line 1)"),
            ("import sys\nsys.exit(3)\n", "SystemExit", "the handler called sys.exit(3)"),
            ("raise KeyboardInterrupt\n", "KeyboardInterrupt", "KeyboardInterrupt"),
            ("def handle(data, context):\n    raise OSError('no vocabulary')\n", "OSError", "no vocabulary"),
            (CLASS.replace("return lambda", "raise MemoryError\n        lambda"), "MemoryError", "MemoryError"),
        ],
    )
    def test_a_handler_that_cannot_load_is_a_load_error_with_its_own_words(self, tmp_path, source, kind, message):
        failure = failed_to_open(tmp_path, source)

        assert failure.kind == kind
        assert message in failure.message
        assert failure.out_of_memory is (kind == "MemoryError")

    def test_the_trace_is_the_users_code(self, tmp_path):
        failure = failed_to_open(tmp_path, "def handle(data, context):\n    raise OSError('no vocabulary')\n")

        assert failure.trace[1] == f'  File "{tmp_path}/handler.py", line 2, in handle'
        assert failure.trace[-1] == "OSError: no vocabulary"

    def test_a_syntax_error_shows_file_and_line_and_nothing_of_ours(self, tmp_path):
        failure = failed_to_open(tmp_path, "x = 1\ndef handle(data, context)\n")

        assert failure.trace[0] == f'  File "{tmp_path}/handler.py", line 2'
        assert failure.trace[-1] == "SyntaxError: expected ':'"

    def test_a_handler_that_refuses_the_archives_own_sample_is_not_ready(self, tmp_path):
        (tmp_path / "sample.json").write_text('"x"')
        source = CLASS + "    def preprocess(self, payload):\n        raise BadRequest('a list, please')\n"

        failure = failed_to_open(tmp_path, source, config={"warmup": {"input": "sample.json"}})

        assert "the handler answered 400 to the sample (warmup.input)" in failure.message
        assert "a list, please" in failure.message

    def test_a_sample_on_which_the_handler_raises_is_a_load_error(self, tmp_path):
        (tmp_path / "sample.json").write_text('"x"')
        source = "def handle(data, context):\n    return [1 / 0 for _ in data or []]\n"

        failure = failed_to_open(tmp_path, source, config={"warmup": {"input": "sample.json"}})

        assert (failure.kind, failure.message) == ("ZeroDivisionError", "division by zero")

    def test_no_handler_in_the_manifest(self, tmp_path):
        assert failed_to_open(tmp_path, None, handler=None).message == "the manifest names no handler"

    def test_an_unknown_envelope_is_refused_by_name(self, tmp_path):
        assert (
            failed_to_open(tmp_path, "def handle(data, context): ...", envelope="kserve3").message
            == "there is no service envelope kserve3; there are: body, json, kserve, kservev2"
        )


class TestRunning:
    def test_every_row_has_its_answer(self, tmp_path):
        session = opened(tmp_path)

        ran = session.run([json_row({"a": 1}), raw_row(b"hi", "text/plain"), raw_row(b"\x00")], 7)

        assert isinstance(ran, wire.Ran)
        assert ran.batch == 7
        assert [reply.body for reply in ran.replies] == [b'{"a":1}', b"hi", b"\x00"]
        assert [reply.content_type for reply in ran.replies] == [
            "application/json",
            "text/plain; charset=utf-8",
            "application/octet-stream",
        ]
        assert ran.seconds["handle"] >= 0

    def test_malformed_json_is_answered_alone_and_never_reaches_the_handler(self, tmp_path):
        source = """
def handle(data, context):
    return [[len(data), context.get_request_id(n)] for n in range(len(data or []))]
"""
        session = opened(tmp_path, source)

        ran = session.run([json_row(1, "a"), raw_row(b"{", "application/json", "b"), json_row(2, "c")], 1)

        first, refused, last = bodies(ran)
        assert (first, last) == ((200, [2, "a"]), (200, [2, "c"]))
        assert refused[0] == 400
        assert refused[1]["type"] == "BadRequestException"
        assert "line 1 column 2 (character 1)" in refused[1]["message"]

    def test_a_batch_of_malformed_rows_only_does_not_call_the_handler(self, tmp_path):
        session = opened(tmp_path, "def handle(data, context):\n    return [1 / 0 for _ in data or []]\n")

        assert [status for status, _ in bodies(session.run([raw_row(b"{", "application/json")] * 2, 1))] == [400, 400]

    def test_our_handlers_bad_row_fails_alone(self, tmp_path):
        source = CLASS + "    def postprocess(self, output):\n        return 1 / output.item()\n"
        session = opened(tmp_path, source)

        answers = bodies(session.run([json_row(1), json_row(0), json_row(2), json_row("x")], 1))

        assert [status for status, _ in answers] == [200, 503, 200, 503]
        assert answers[0][1] == 0.5

    def test_status_headers_and_content_type_are_each_rows_own(self, tmp_path):
        source = """
def handle(data, context):
    for number in range(len(data or [])):
        context.set_response_header(number, "x-row", str(number))
    if data:
        context.set_response_status(404, "Nothing", 1)
        context.set_response_content_type(0, "text/csv")
    return ["a"] * len(data or [])
"""
        ran = opened(tmp_path, source).run([json_row(1), json_row(2)], 1)

        assert isinstance(ran, wire.Ran)
        assert ran.replies[0] == wire.Reply(200, "", "text/csv", [("x-row", "0")], b"a")
        assert ran.replies[1] == wire.Reply(404, "Nothing", "text/plain; charset=utf-8", [("x-row", "1")], b"a")

    def test_what_the_handler_measures_travels_once(self, tmp_path):
        source = (
            "def handle(data, context):\n    context.metrics.add_counter('Rows', len(data or []))\n    return data\n"
        )
        session = opened(tmp_path, source)

        first, second = session.run([json_row(1)], 1), session.run([json_row(1)], 2)

        assert isinstance(first, wire.Ran) and isinstance(second, wire.Ran)
        assert [metric.value for metric in second.metrics] == [1.0]

    def test_compiled_code_that_fails_while_serving_is_answered_by_eager_and_counted(self, tmp_path):
        (tmp_path / "sample.json").write_text("1")
        source = """
import os
import torch
from torch._dynamo import register_backend
from runner.handlers import Handler

@register_backend(name="breakable")
def breakable(graph, inputs):
    def run(*args):
        if os.path.exists("broken"):
            raise RuntimeError("kernel")
        return graph.forward(*args)
    return run

class Mine(Handler):
    def load_model(self):
        return Doubling()
    def preprocess(self, payload):
        return torch.tensor([float(payload)])

class Doubling(torch.nn.Module):
    def forward(self, x):
        return x + x
"""
        pt2 = {"compile": {"enable": True, "backend": "breakable"}, "minSpeedup": 0.001}
        session = opened(tmp_path, source, config={"pt2": pt2, "warmup": {"input": "sample.json"}})
        (tmp_path / "broken").touch()

        ran = session.run([json_row(3)], 1)

        assert bodies(ran) == [(200, [6.0])]
        assert [(metric.name, metric.value) for metric in ran.metrics] == [("archive_compiled_failures", 1.0)]

    def test_a_shape_that_nothing_compiled_fits_is_answered_by_eager_and_counted(self, tmp_path):
        (tmp_path / "sample.json").write_text("[1, 2]")
        source = """
import torch
from runner.handlers import Handler

class Mine(Handler):
    def load_model(self):
        return Doubling()
    def preprocess(self, payload):
        return torch.tensor(payload, dtype=torch.float32)
    def postprocess(self, output):
        return output.tolist()

class Doubling(torch.nn.Module):
    def forward(self, x):
        return x + x
"""
        pt2 = {"compile": {"backend": "eager", "dynamic": False}, "minSpeedup": 0.001}
        session = opened(tmp_path, source, config={"pt2": pt2, "warmup": {"input": "sample.json"}})

        ran = session.run([json_row([1, 2, 3])], 1)

        assert bodies(ran) == [(200, [2.0, 4.0, 6.0])]
        assert [(metric.name, metric.value) for metric in ran.metrics] == [("archive_recompiles", 1.0)]

    def test_a_custom_attribute_of_the_context_outlives_the_batch(self, tmp_path):
        source = """
def handle(data, context):
    context.n = getattr(context, "n", 0) + 1
    return [context.n] * len(data or [])
"""
        session = opened(tmp_path, source)

        assert bodies(session.run([json_row(1)], 1)) == [(200, 2)]
        assert bodies(session.run([json_row(1)], 2)) == [(200, 3)]

    @pytest.mark.parametrize(
        ("returned", "message", "detail"),
        [
            ("{'a': 1}", "Invalid model predict output", "handle() returned a dict, not a list"),
            ("None", "Invalid model predict output", "handle() returned a NoneType, not a list"),
            ("[1, 2, 3]", "number of batch response mismatched", "handle() returned 3 answers to 1 rows"),
            ("[]", "number of batch response mismatched", "handle() returned 0 answers to 1 rows"),
        ],
    )
    def test_a_result_that_is_not_one_answer_per_row_fails_the_batch(self, tmp_path, returned, message, detail):
        session = opened(tmp_path, f"def handle(data, context):\n    return {returned}\n")

        raised = session.run([json_row(1)], 3)

        assert raised == wire.Raised(3, 503, "WrongResult", message, [detail])

    def test_an_answer_that_cannot_be_serialised_fails_alone(self, tmp_path):
        session = opened(tmp_path, "def handle(data, context):\n    return [1, object()][:len(data or [])]\n")

        answers = bodies(session.run([json_row(1), json_row(2)], 1))

        assert answers[0] == (200, 1)
        assert answers[1][0] == 503
        assert answers[1][1]["message"] == "Unsupported model output data type."

    @pytest.mark.parametrize(
        ("statement", "kind", "status"),
        [
            ("raise ValueError('x')", "ValueError", 503),
            ("import sys; sys.exit(1)", "SystemExit", 503),
            ("raise KeyboardInterrupt", "KeyboardInterrupt", 503),
            ("raise MemoryError", "MemoryError", 507),
            ("raise RuntimeError('CUDA error: device-side assert triggered')", "RuntimeError", 507),
        ],
    )
    def test_whatever_a_handler_raises_the_worker_goes_on(self, tmp_path, statement, kind, status):
        source = f"""
def handle(data, context):
    for row in data or []:
        if row["body"] == "bad":
            {statement}
    return data or []
"""
        session = opened(tmp_path, source)

        raised = session.run([json_row("bad"), json_row("good")], 5)

        assert isinstance(raised, wire.Raised)
        assert (raised.batch, raised.kind, raised.status) == (5, kind, status)
        assert raised.retire is ("CUDA" in statement)
        assert any("handler.py" in line for line in raised.trace)
        assert bodies(session.run([json_row("good")], 6)) == [(200, {"body": "good"})]

    def test_a_worker_whose_memory_is_used_up_asks_to_be_replaced(self, tmp_path):
        session = opened(tmp_path, "def handle(data, context):\n    if data: raise MemoryError\n")

        first, second = (session.run([json_row(1)], number) for number in (1, 2))

        assert (first.status, first.retire) == (507, False)
        assert (second.status, second.retire) == (507, True)
