"""Who names a file that is about to have another name."""

from __future__ import annotations

import pytest

from archiver.mentions import mentions
from tests.builders import write


def found(tmp_path, text: str, name: str = "handler.py") -> list[str]:
    """Line and column of each place."""
    findings = mentions("weights/model.pt", "weights/model.safetensors", [(name, write(tmp_path / "source", text))])
    return [f"{each.where.line}:{each.where.column}" for each in findings]


@pytest.mark.parametrize(
    "text",
    [
        'torch.load("model.pt")',
        'torch.load(os.path.join(folder, "model.pt"))',
        'torch.load(f"{folder}/model.pt")',
        'NAME = "weights/model.pt"',
        'shutil.copy("cp model.pt elsewhere", x)',
        'next(folder.glob("*.pt"))',
        'next(folder.glob("model*.pt"))',
        'name.endswith(".pt")',
    ],
)
def test_code_that_opens_the_file_by_name_or_pattern_is_found(tmp_path, text):
    assert len(found(tmp_path, text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        'torch.load(context.manifest["model"]["serializedFile"])',
        '"""Loads model.pt."""',
        "# model.pt",
        'def load():\n    """Reads model.pt."""\n    return 1',
        'x = "other-model.pt", "model.pth", "model.pt2", "mymodel.pt"',
        'folder.glob("other*.pt")',
        'folder.glob("*")',
        'if __name__ == "__main__":\n    evaluate("model.pt")',
        'torch.save(net.state_dict(), "model.pt")',
        "no python at all (",
    ],
)
def test_what_does_not_open_it_in_a_server_is_not(tmp_path, text):
    assert found(tmp_path, text) == []


def test_places_are_told_in_order_with_line_and_column(tmp_path):
    assert found(tmp_path, 'a = "model.pt"\nif a:\n    b = "model.pt"\n') == ["1:5", "3:9"]


def test_a_config_that_names_it_is_found_its_comments_are_not(tmp_path):
    text = "# model.pt\nhandler:\n  weights: ./model.pt  # model.pt\n  other: x # model.pt\n"
    assert found(tmp_path, text, "model-config.yaml") == ["3:3"]


def test_other_files_are_not_read(tmp_path):
    assert found(tmp_path, "model.pt", "README.md") == []
