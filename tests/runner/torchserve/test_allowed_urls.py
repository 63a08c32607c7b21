"""Regular expressions of `allowed_urls` as prefixes; where there is none, nothing is guessed."""

from __future__ import annotations

import pytest

from runner.frontend.downloads import Downloads, NotAllowed
from runner.torchserve.allowed_urls import prefixes_of
from runner.torchserve.properties import parse
from runner.torchserve.serving import served_as
from runner.torchserve.settings import TorchServeSettings, settings_of


def read(text: str, **environment: str) -> TorchServeSettings:
    return settings_of(parse(text), "config.properties", environment)


@pytest.mark.parametrize(
    ("expression", "prefixes"),
    [
        ("https://models.example.com/.*", ["https://models.example.com/"]),
        (r"^https://models\.example\.com/v1\.0/.*$", ["https://models.example.com/v1.0/"]),
        ("http://localhost:9000/a/b-c_d/.+", ["http://localhost:9000/a/b-c_d/"]),
        ("https?://h/.*", ["http://h/", "https://h/"]),
        ("http(s)?://h/a/.*", ["http://h/a/", "https://h/a/"]),
        ("https://a/.*, https://b/.*", ["https://a/", "https://b/"]),
        ("https://a/.*|https://b/.*", ["https://a/", "https://b/"]),
    ],
)
def test_everything_below_a_folder_is_a_prefix(expression, prefixes):
    assert prefixes_of(expression) == (prefixes, [])


@pytest.mark.parametrize(
    "expression",
    [
        "https://models.example.com.*",
        "https://h/path.*",
        r"https://h/.*\.mar",
        "https://h/model.mar",
        "https://.*/models/.*",
        r"https://.*\.example\.com/.*",
        "https://(a|b)/.*",
        "https://h/[ab]/.*",
        "https://h/../.*",
        "https://h:0/.*",
        "https://h:70000/.*",
        "https://user:secret@h/.*",
        "ftp://h/.*",
        "s3://bucket/.*",
        "file://.*",
        "http(s)?://.*",
        ".*",
    ],
)
def test_nothing_is_guessed_about_any_other_expression(expression):
    assert prefixes_of(expression) == ([], [expression])


def test_torchserves_default_allows_nothing_and_says_so_with_its_line():
    found = read("job_queue_size=5\nallowed_urls=file://.*|http(s)?://.*")
    files, web = found.ignored
    assert served_as(found, {}).allowed_urls == []
    assert files == "config.properties:2: file://.* of allowed_urls has no effect: files come from the model store"
    assert web.startswith(
        "config.properties:2: http(s)?://.* of allowed_urls has no effect: only all addresses below"
    )


def test_what_is_a_prefix_counts_beside_what_is_none(tmp_path):
    found = read("allowed_urls=https://h/models/.*,https://.*")
    downloads = Downloads(tmp_path, served_as(found, {}).allowed_urls)
    assert [sentence.split()[1] for sentence in found.ignored] == ["https://.*"]
    with pytest.raises(NotAllowed):
        downloads.fetch("https://h/other/m.mar")


def test_the_command_line_names_prefixes_instead():
    found = read("allowed_urls=https://h/models/.*")
    assert served_as(found, {"allowed_urls": ("https://other/",)}).allowed_urls == ("https://other/",)


def test_the_environment_counts_only_where_it_is_asked_for():
    here = {"TS_ALLOWED_URLS": "https://theirs/.*"}
    ours, theirs = "allowed_urls=https://ours/.*", "use_env_allowed_urls=true"
    assert read(f"{ours}\nenable_envvars_config=true", **here).allowed_urls == ["https://ours/"]
    assert read(f"{ours}\n{theirs}", **here).allowed_urls == ["https://theirs/"]
    assert read(f"{ours}\n{theirs}").allowed_urls == ["https://ours/"]
