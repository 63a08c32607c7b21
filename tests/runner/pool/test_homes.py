"""Which template a model's workers come from, and what is said where its requirements are not installed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from archiver.errors import DamagedArchive, ServeFailed
from archiver.manifest import Manifest
from archiver.store import Lease, Unpacked
from runner.pool.environments import Environment
from runner.pool.homes import Home, Homes
from runner.pool.spawner import Spawner, process_environment
from tests.runner.loops import in_loop

WITHOUT, WITH = Manifest("m", "1.0"), Manifest("m", "1.0", requirements_file="needs.txt")


def homes(*, installs: bool) -> Homes:
    return Homes(Spawner(), {}, installing={} if installs else None)


@pytest.mark.parametrize(
    ("manifest", "use_venv", "installs", "said"),
    [
        (WITHOUT, False, False, []),
        (WITHOUT, True, True, ["useVenv has no effect: the archive has no requirements file"]),
        (WITH, False, True, []),
        (WITH, True, True, []),
        (WITH, False, False, ["needs.txt is not installed: `archive serve --install-requirements`"]),
        (WITH, True, False, ["needs.txt is not installed: `archive serve --install-requirements`"]),
    ],
)
def test_what_has_no_effect_is_said(manifest: Manifest, use_venv: bool, installs: bool, said: list[str]) -> None:
    sentences = homes(installs=installs).not_applied(manifest, use_venv=use_venv)
    assert [sentence.partition(" (")[0] for sentence in sentences] == said


@in_loop
async def test_a_model_lives_in_the_servers_own_environment_unless_it_requires_more() -> None:
    for manifest, installs in ((WITHOUT, True), (WITH, False)):
        here = homes(installs=installs)
        unpacked = Unpacked(Path("/nowhere"), manifest, "d", None, Lease(None))
        home = await here.of("m", unpacked, [])
        assert (home.environment, home.spawner) == (None, here._own.spawner)
        await home.close()


def test_a_requirements_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    unpacked = Unpacked(tmp_path, WITH, "d", None, Lease(None))

    @in_loop
    async def story() -> None:
        with pytest.raises(DamagedArchive, match=r"^m: its manifest names the requirements file `needs.txt`"):
            await homes(installs=True).of("m", unpacked, [])

    story()


def test_requirements_that_the_template_cannot_run_with_are_named(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('not for this machine')\n")

    @in_loop
    async def story() -> None:
        variables = process_environment()
        spawner = Spawner([], {**variables, "PYTHONPATH": f"{tmp_path}{os.pathsep}{variables['PYTHONPATH']}"})
        spawner.start()
        home = Home(spawner, Environment(tmp_path, ("torch==0.1",), Lease(None)), "m")
        with pytest.raises(ServeFailed) as caught:
            await home.platform()
        first, _, reason = str(caught.value).partition(" (torch==0.1): ")
        assert first == "model `m`: the worker template cannot start with what it requires"
        assert "not for this machine" in reason
        await home.close()

    story()
