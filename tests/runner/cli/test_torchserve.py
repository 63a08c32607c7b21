from __future__ import annotations

import pytest
from click.testing import CliRunner

from runner.cli.torchserve import torchserve


@pytest.mark.parametrize(("words", "trusts"), [([], False), (["--trust"], True)])
def test_pickles_beyond_torch_s_list_are_for_those_who_say_that_they_trust(tmp_path, monkeypatch, words, trusts):
    asked = []
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("runner.service.run_service", lambda settings, *_: asked.append(settings.trust))
    monkeypatch.setattr("runner.logs.set_up", lambda *_, **__: None)
    monkeypatch.setattr("runner.torchserve.background.running", lambda: None)
    options = ["--start", "--foreground", "--disable-token-auth", "--model-store", str(tmp_path)]
    result = CliRunner().invoke(torchserve, [*options, *words])
    assert result.exit_code == 0, result.output
    assert asked == [trusts]
