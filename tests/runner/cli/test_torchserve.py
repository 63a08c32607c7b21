from __future__ import annotations

import pytest
from click.testing import CliRunner

from runner.cli.torchserve import torchserve


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """The settings of servers that were started."""
    asked = []
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("runner.service.run_service", lambda settings, *_: asked.append(settings))
    monkeypatch.setattr("runner.logs.set_up", lambda *_, **__: None)
    monkeypatch.setattr("runner.torchserve.background.running", lambda: None)
    return asked


def start(store, *words):
    options = ["--start", "--foreground", "--disable-token-auth", "--model-store", str(store)]
    result = CliRunner().invoke(torchserve, [*options, *words])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(("words", "trusts"), [([], False), (["--trust"], True)])
def test_pickles_beyond_torch_s_list_are_for_those_who_say_that_they_trust(tmp_path, asked, words, trusts):
    start(tmp_path, *words)
    assert [settings.trust for settings in asked] == [trusts]


def test_handlers_see_the_environment_as_in_torchserve(tmp_path, asked):
    start(tmp_path)
    (tmp_path / "config.properties").write_text("blacklist_env_vars=AWS_.*\n")
    start(tmp_path)
    assert [settings.hidden_variables for settings in asked] == ["", "AWS_.*"]
