"""Every template of `archive init` creates, validates, passes its own test and serves, unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from archiver.scaffold import templates
from tests.e2e.projects import archive, python
from tests.e2e.servers import running_server

#: Part of the answer that each template gives to its own sample.
ANSWERS = {"classifier": '"red"', "custom": '"Berlin"', "embedder": "[", "text": '"english"'}


@pytest.fixture(scope="module")
def projects(tmp_path_factory) -> dict[str, Path]:
    """A project of each template, with its archive; each folder, and so each model, has its template's name."""
    return {template: made(template, tmp_path_factory.mktemp("projects")) for template in templates()}


def made(template: str, place: Path) -> Path:
    folder = place / template
    archive("init", "--template", template, folder, folder=place)
    if (folder / "make_checkpoint.py").is_file():
        python("make_checkpoint.py", folder=folder)
    archive("create", folder=folder)
    return folder


@pytest.mark.parametrize("template", templates())
def test_it_validates_as_a_folder_and_as_an_archive(projects, template):
    archive("validate", ".", f"{template}.mar", folder=projects[template])


def test_its_own_test_passes_where_it_lies(projects):
    python("-m", "pytest", "-q", "-p", "no:cacheprovider", folder=projects["classifier"])


def test_the_tests_of_all_of_them_pass_in_one_process(projects):
    folders = [str(folder) for folder in projects.values()]
    options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
    python("-m", "pytest", *options, *folders, folder=projects["classifier"].parent)


def test_all_of_them_answer_their_samples_over_http(projects, tmp_path):
    archives = [folder / f"{template}.mar" for template, folder in projects.items()]
    with running_server(*archives, cache=tmp_path) as server:
        for template, folder in projects.items():
            sample = json.loads((folder / "sample.json").read_text(encoding="utf-8"))
            response = server.predict(sample, model=template)
            assert response.status_code == 200, response.text
            assert ANSWERS[template] in response.text
        assert server.stop() == 0
