"""TorchServe's built-in handlers, by name and as base classes."""

from __future__ import annotations

import base64
import json
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import torch

from runner import wire
from runner.worker.session import LoadError
from tests.runner.handlers.test_images import gradient, png
from tests.runner.worker.sessions import bodies, json_row, opened, raw_row

CNN = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(CLASSES))

    def forward(self, x):
        return x.mean(dim=(1, 2, 3)).unsqueeze(1) * 0 + self.scale * torch.arange(CLASSES, dtype=torch.float32)
"""
SEGMENTER = """
import torch
from torch import nn


class Net(nn.Module):
    def forward(self, x):
        return {"out": torch.stack([x[:, 0] * 0, x[:, 0] * 0 + 1], dim=1)}
"""
DETECTOR = """
import torch
from torch import nn


class Net(nn.Module):
    def forward(self, pictures):
        return [
            {
                "boxes": torch.tensor([[0.0, 0.0, float(p.shape[2]), float(p.shape[1])], [1.0, 1.0, 2.0, 2.0]]),
                "labels": torch.tensor([1, 2]),
                "scores": torch.tensor([0.75, 0.25]),
            }
            for p in pictures
        ]
"""
BAG = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag = nn.EmbeddingBag(4, 2, mode="sum")
        self.bag.weight.data = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 5.0]])

    def forward(self, text, offsets):
        return self.bag(text, offsets)
"""


def with_model(folder, handler, model, *, names=None, source=None, **arguments):
    (folder / "net.py").write_text(model)
    if names is not None:
        (folder / "index_to_name.json").write_text(json.dumps(names))
    return opened(folder, source, handler=handler, modelFile="net.py", config={"batchSize": 4}, **arguments)


def classifier(folder, classes=7, **arguments):
    return with_model(folder, "image_classifier", CNN.replace("CLASSES", str(classes)), **arguments)


def test_an_image_classifier_answers_its_five_best_classes_by_name(tmp_path):
    session = classifier(tmp_path, names={str(n): [f"n{n}", f"class {n}"] for n in range(7)})

    [(status, answer)] = bodies(session.run([raw_row(png(gradient(300, 200)), "image/png")], 1))

    assert status == 200
    assert list(answer) == ["class 6", "class 5", "class 4", "class 3", "class 2"]
    assert list(answer.values()) == pytest.approx(torch.arange(7.0).softmax(0).flip(0)[:5].tolist())


def test_pictures_of_different_sizes_numbers_and_base64_share_a_batch(tmp_path):
    picture = png(gradient(300, 200))
    rows = [
        raw_row(picture, "image/png"),
        raw_row(png(gradient(50, 90)), "image/png"),
        json_row(base64.b64encode(picture).decode()),
        json_row(torch.zeros(3, 224, 224).tolist()),
    ]

    assert [status for status, _ in bodies(classifier(tmp_path).run(rows, 1))] == [200] * 4


def test_a_model_with_fewer_than_five_classes_answers_all_of_them(tmp_path):
    [(_, answer)] = bodies(classifier(tmp_path, classes=2).run([raw_row(png(gradient(9, 9)))], 1))

    assert list(answer) == ["1", "0"]


def test_what_is_no_picture_is_answered_400(tmp_path):
    raised = classifier(tmp_path).run([raw_row(b"no picture", "image/png")], 1)

    assert isinstance(raised, wire.Raised)
    assert (raised.status, raised.message) == (400, "the input is not a picture that can be read: unknown format")


def test_a_subclass_sets_its_own_processing_and_number_of_classes(tmp_path):
    source = (
        "from ts.torch_handler.image_classifier import ImageClassifier\n"
        "from runner.handlers.images import Resize, Steps, to_tensor\n"
        "class Mine(ImageClassifier):\n"
        "    topk = 2\n"
        "    image_processing = Steps([Resize(8), to_tensor])\n"
    )
    model = CNN.replace("CLASSES", "7")
    session = with_model(tmp_path, "handler.py", model, source=source)

    [(_, answer)] = bodies(session.run([raw_row(png(gradient(9, 9)))], 1))

    assert list(answer) == ["6", "5"]


DIGITS = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 26 * 26, 10))

    def forward(self, x):
        return self.layers(x)
"""


def test_a_subclass_for_grey_pictures_gets_one_channel(tmp_path):
    source = (
        "from ts.torch_handler.image_classifier import ImageClassifier\n"
        "from runner.handlers.images import Normalize, Steps, to_tensor\n"
        "class Digits(ImageClassifier):\n"
        "    image_processing = Steps([to_tensor, Normalize((0.1307,), (0.3081,))])\n"
        "    def postprocess(self, data): return data.argmax(1).flatten().tolist()\n"
    )
    session = with_model(tmp_path, "handler.py", DIGITS, source=source)

    [(status, answer)] = bodies(session.run([raw_row(png(gradient(28, 28).convert("L")))], 1))

    assert (status, answer in range(10)) == (200, True)


def test_an_explanation_without_captum_says_what_to_install(tmp_path, monkeypatch):
    for module in ("captum", "captum.attr"):
        monkeypatch.setitem(sys.modules, module, None)

    raised = classifier(tmp_path).run([raw_row(png(gradient(9, 9)), explain="True")], 1)

    assert isinstance(raised, wire.Raised)
    assert (raised.status, raised.message) == (
        501,
        "explanations need captum on the server: pip install 'torch-archive[explain]'",
    )


def test_an_explanation_is_what_captum_attributes(tmp_path, monkeypatch):
    asked = []

    class IntegratedGradients:
        def __init__(self, model):
            self.model = model

        def attribute(self, tensor, **arguments):
            asked.append((type(self.model).__name__, arguments))
            return tensor[:, 0, 0, :2] * 0

    monkeypatch.setitem(sys.modules, "captum", fake_module("captum"))
    monkeypatch.setitem(
        sys.modules, "captum.attr", fake_module("captum.attr", IntegratedGradients=IntegratedGradients)
    )
    row = raw_row(png(gradient(9, 9)), explain="True")

    assert [abs(value) for value in bodies(classifier(tmp_path).run([row], 1))[0][1]] == [0, 0]
    assert asked == [("Net", {"target": 0, "n_steps": 15})]


def fake_module(name, **members):
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    vars(module).update(members)
    return module


def test_a_segmenter_answers_class_and_probability_of_every_pixel(tmp_path):
    session = with_model(tmp_path, "image_segmenter", SEGMENTER)

    [(_, answer)] = bodies(session.run([raw_row(png(gradient(9, 9)))], 1))

    assert (len(answer), len(answer[0])) == (224, 224)
    assert answer[0][0] == pytest.approx([1.0, 0.7310586])


def test_a_detector_takes_pictures_of_different_sizes_and_drops_doubtful_boxes(tmp_path):
    session = with_model(tmp_path, "object_detector", DETECTOR, names={"1": "cat", "2": "dog"})

    ran = session.run([raw_row(png(gradient(30, 20))), raw_row(png(gradient(9, 8)))], 1)

    assert [answer for _, answer in bodies(ran)] == [
        [{"cat": [0.0, 0.0, 30.0, 20.0], "score": 0.75}],
        [{"cat": [0.0, 0.0, 9.0, 8.0], "score": 0.75}],
    ]


def text_classifier(folder, vocabulary, **arguments):
    torch.save(vocabulary, folder / "source_vocab.pt")
    return with_model(folder, "text_classifier", BAG, names={"0": "dull", "1": "fine"}, **arguments)


def test_a_text_classifier_answers_every_row_of_a_batch(tmp_path):
    session = text_classifier(tmp_path, {"<unk>": 0, "bad": 1, "good": 2, "not bad": 3})

    ran = session.run([raw_row(b"<b>Good!</b>", "text/plain"), raw_row(b"It isn't bad", "text/plain")], 1)

    sigmoid = torch.tensor([1.0, 4.0]).sigmoid().tolist()
    answers = [answer for _, answer in bodies(ran)]
    assert [answer["fine"] for answer in answers] == pytest.approx(sigmoid)
    assert list(answers[0]) == ["dull", "fine"]


def test_a_vocabulary_may_be_a_list_and_lack_a_token_for_the_unknown(tmp_path):
    session = text_classifier(tmp_path, ["a", "b", "good"])

    assert bodies(session.run([raw_row(b"who knows", "text/plain")], 1)) == [(200, {"dull": 0.5, "fine": 0.5})]


def test_a_pickled_vocabulary_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(LoadError, match=r"save a plain mapping of tokens to numbers .* or serve with --trust"):
        text_classifier(tmp_path, torch.nn.Flatten())


class Vocabulary:
    """What torchtext's looks like from outside."""

    def get_stoi(self):
        return {"good": 2}


def test_a_trusted_archives_vocabulary_may_be_an_object_as_torchtexts_is(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)

    session = text_classifier(tmp_path, Vocabulary(), trusted=True)

    [(_, answer)] = bodies(session.run([raw_row(b"good", "text/plain")], 1))
    assert answer["fine"] > 0.7


def test_a_missing_vocabulary_is_named(tmp_path):
    with pytest.raises(LoadError, match=r"the vocabulary source_vocab.pt is not in the archive"):
        with_model(tmp_path, "text_classifier", BAG)


def explained(session, text, **fields):
    params = [("data", "text/plain", text), *((name, "", value) for name, value in fields.items())]
    return session.run([wire.Row("r", params, wire.pack_headers([(b"explain", b"True")]))], 1)


def test_a_text_classifier_explains_each_word(tmp_path):
    pytest.importorskip("captum")
    vocabulary = {"<unk>": 0, "bad": 1, "good": 2, "not bad": 3}
    session = text_classifier(tmp_path, vocabulary)

    [(status, answer)] = bodies(explained(session, b"Not bad, good!", target=b"1"))

    assert status == 200
    assert answer["words"] == ["not", "bad", "good"]
    # "not bad" speaks for class 1 with 5, which its two words share; "good" speaks for it with 1.
    assert answer["importances"] == pytest.approx([2.5 / 13.5**0.5, 2.5 / 13.5**0.5, 1 / 13.5**0.5])


def test_a_text_without_words_has_nothing_to_explain(tmp_path):
    pytest.importorskip("captum")
    session = text_classifier(tmp_path, ["a", "b", "good"])

    assert bodies(explained(session, b"...")) == [(200, {"importances": [], "words": []})]
    assert bodies(explained(session, b"who")) == [(200, {"importances": [0.0], "words": ["who"]})]


@pytest.mark.parametrize(
    ("model", "status", "reason"),
    [
        (BAG.replace('"sum"', '"max"'), 501, "a bag of tokens of which the largest counts does not tell them apart"),
        (BAG.replace('EmbeddingBag(4, 2, mode="sum")', "Embedding(4, 2)"), 501, "the model has 0"),
    ],
)
def test_a_text_classifier_that_cannot_explain_says_why(tmp_path, model, status, reason):
    torch.save(["a", "b", "good"], tmp_path / "source_vocab.pt")
    session = with_model(tmp_path, "text_classifier", model)

    raised = explained(session, b"good")

    assert isinstance(raised, wire.Raised)
    assert raised.status == status
    assert reason in raised.message


@pytest.mark.parametrize(
    ("target", "said"),
    [(b"first", "target must be the number of a class, not first"), (b"9", "target 9: index 9 is out of bounds")],
)
def test_a_class_to_explain_that_is_none_is_the_clients_fault(tmp_path, target, said):
    pytest.importorskip("captum")
    raised = explained(text_classifier(tmp_path, ["a", "b", "good"]), b"good", target=target)

    assert isinstance(raised, wire.Raised)
    assert raised.status == 400
    assert raised.message.startswith(said)
