"""Environments made by the real pip, of wheels made by hand."""

from __future__ import annotations

import asyncio
import os
import site
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from archiver.environments import environments, lease
from archiver.store import Lease
from runner.pool import environments as room
from runner.pool.environments import Environment, Environments, Requirements, RequirementsFailed, Stopping
from runner.pool.spawner import process_environment
from tests.e2e.servers import wait_until_gone
from tests.packages import make_endless, make_wheel
from tests.runner.loops import in_loop


def requirements(folder: Path, text: str) -> Requirements:
    file = folder / "requirements.txt"
    file.write_text(text)
    return Requirements("m", file, folder, "d1")


def installer(folder: Path) -> Environments:
    return Environments(folder / "environments", process_environment())


def run(story: Callable[[], Coroutine[None, None, None]]) -> None:
    in_loop(story)()


def printed(environment: Environment, code: str) -> str:
    """What a line of Python prints there."""
    variables = environment.variables(process_environment())
    return subprocess.check_output([environment.python, "-c", code], env=variables, text=True).strip()


def installations(caplog: pytest.LogCaptureFixture) -> int:
    return sum("installed in" in record.getMessage() for record in caplog.records)


def test_what_is_required_is_there_before_what_the_server_has_and_stays_for_the_next_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    wheels = [make_wheel(tmp_path), make_wheel(tmp_path, "iniconfig", "99.0", "VALUE = 'its own'\n")]
    text = "--no-index\npytest\n" + "".join(f"{wheel.stem.split('-')[0]} @ file://{wheel}\n" for wheel in wheels)

    async def story() -> None:
        asked = requirements(tmp_path, text)
        made = await installer(tmp_path).of(asked)
        assert made.installed == ("gift==1.0", "iniconfig==99.0")
        code = "import gift, iniconfig, msgspec, runner; print(gift.VALUE, iniconfig.VALUE)"
        assert printed(made, code) == "41 its own"
        for wheel in wheels:
            wheel.unlink()
        again = await installer(tmp_path).of(asked)
        assert (again.path, again.installed) == (made.path, made.installed)

    run(story)
    assert installations(caplog) == 1


def test_servers_and_models_that_want_the_same_wait_for_the_one_that_makes_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    asked = requirements(tmp_path, f"--no-index\ngift @ file://{make_wheel(tmp_path)}\n")

    async def story() -> None:
        here, there = installer(tmp_path), installer(tmp_path)
        made = await asyncio.gather(here.of(asked), there.of(asked), here.of(asked))
        assert len({each.path for each in made}) == 1
        assert environments(tmp_path / "environments")[0].busy
        for each in made:
            each.lease.release()
        assert not environments(tmp_path / "environments")[0].busy

    run(story)
    assert installations(caplog) == 1


def test_what_cannot_be_installed_is_refused_with_pips_last_lines_and_leaves_nothing(tmp_path: Path) -> None:
    asked = requirements(tmp_path, "--no-index\nno-such-thing==1.0\n")

    async def story() -> None:
        with pytest.raises(RequirementsFailed) as caught:
            await installer(tmp_path).of(asked)
        first, *lines = str(caught.value).splitlines()
        assert first == "model `m`: its requirements.txt cannot be installed: pip ended with status 1"
        assert lines[-1] == "  ERROR: No matching distribution found for no-such-thing==1.0"
        assert caught.value.hint is not None
        log = Path(caught.value.hint.rpartition(" ")[2])
        assert "No matching distribution" in log.read_text()
        assert environments(tmp_path / "environments") == []
        assert isinstance(lease(log.with_suffix(""), alone=True), Lease)

    run(story)


@pytest.mark.parametrize("how", ["cancelled", "stopped"])
def test_an_installation_that_is_given_up_ends_with_all_it_started_and_leaves_nothing(
    tmp_path: Path, how: str
) -> None:
    fifo = make_endless(tmp_path / "endless", tmp_path / "fifo")
    asked = requirements(tmp_path, "./endless\n")

    async def story() -> None:
        here = installer(tmp_path)
        making = asyncio.create_task(here.of(asked))
        builder = int(await asyncio.to_thread(fifo.read_text))
        if how == "cancelled":
            making.cancel()
        here.stop()
        with pytest.raises((asyncio.CancelledError, Stopping)) as caught:
            await making
        assert str(caught.value) == ("" if how == "cancelled" else "the server is stopping")
        await asyncio.to_thread(wait_until_gone, builder)
        assert environments(tmp_path / "environments") == []

    run(story)


@pytest.mark.parametrize("sealed", [False, True])
def test_one_without_its_seal_or_its_interpreter_is_made_anew(tmp_path: Path, sealed: bool) -> None:
    asked = requirements(tmp_path, f"--no-index\ngift @ file://{make_wheel(tmp_path)}\n")
    key = room._key(asked.file.read_text(), asked)
    half = tmp_path / "environments" / key / "lib" / "python0.0" / "site-packages"
    half.mkdir(parents=True)
    if sealed:
        (tmp_path / "environments" / f"{key}.json").write_text('{"installed": ["other==1.0"]}')

    async def story() -> None:
        made = await installer(tmp_path).of(asked)
        assert (made.path.name, made.installed) == (key, ("gift==1.0",))
        assert not half.exists()

    run(story)


def test_an_installation_that_takes_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_LONGEST", 0.0)

    async def story() -> None:
        with pytest.raises(RequirementsFailed, match="venv took longer than 0 s"):
            await installer(tmp_path).of(requirements(tmp_path, "gift\n"))
        assert environments(tmp_path / "environments") == []

    run(story)


def test_other_packages_of_the_server_need_another_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(folder)])
    asked = requirements(tmp_path, "gift\n")
    before = room._key("gift\n", asked)
    assert room._key("gift\n", Requirements("other", asked.file, folder, "d2")) == before
    (folder / "numpy-2.0.dist-info").mkdir()
    assert room._key("gift\n", asked) != before


def test_files_beside_the_requirements_belong_to_the_key(tmp_path: Path) -> None:
    asked = requirements(tmp_path, "-r more.txt\n")
    other = Requirements("m", asked.file, tmp_path, "d2")
    assert room._key("-r more.txt\n", asked) != room._key("-r more.txt\n", other)


def test_the_servers_packages_do_not_come_first(tmp_path: Path) -> None:
    environment = Environment(tmp_path, (), Lease(None))
    servers = site.getsitepackages()[0]
    variables = environment.variables({"PYTHONPATH": os.pathsep.join([servers, "/mine"]), "PATH": "/bin"})
    assert variables["PYTHONPATH"] == "/mine"
    assert variables["PATH"] == f"{tmp_path}/bin{os.pathsep}/bin"
