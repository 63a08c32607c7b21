from __future__ import annotations

import pytest

from archiver.errors import ServeFailed
from runner.pool.placement import Placement, device_kind, place
from runner.pool.spawner import Platform
from tests.runner.configs import make_config

LAPTOP = Platform("2.13.0", 0, False)
MAC = Platform("2.13.0", 0, True)
TWO_GPUS = Platform("2.13.0", 2, False)


def placed(kind: str = "cpu", platform: Platform = LAPTOP, cores: int = 4, **config: object) -> Placement:
    return place(make_config(**config), kind, None, platform, list(range(cores)))


@pytest.mark.parametrize(("platform", "kind"), [(LAPTOP, "cpu"), (MAC, "mps"), (TWO_GPUS, "cuda")])
def test_auto_takes_the_best_device_there_is(platform: Platform, kind: str) -> None:
    assert device_kind("auto", platform, by_flag=False) == (kind, None)


def test_a_declared_gpu_that_is_not_there_is_a_stated_fallback() -> None:
    kind, fallback = device_kind("gpu", LAPTOP, by_flag=False)
    assert kind == "cpu"
    assert fallback == "deviceType gpu is declared, this machine has none: running on cpu"


def test_a_gpu_asked_for_on_the_command_line_is_refused_where_there_is_none() -> None:
    with pytest.raises(ServeFailed, match="--device cuda: this machine has no such device"):
        device_kind("cuda", LAPTOP, by_flag=True)


def test_cpu_defaults_are_one_worker_with_one_thread_per_core() -> None:
    placement = placed(cores=4)
    assert (placement.workers, placement.threads) == (4, 1)


def test_workers_share_the_cores_as_threads() -> None:
    placement = placed(cores=8, minWorkers=2, maxWorkers=2)
    assert (placement.workers, placement.threads) == (2, 4)


def test_a_lone_max_workers_caps_the_default() -> None:
    assert placed(cores=8, maxWorkers=3).workers == 3


def test_gpu_workers_go_round_robin() -> None:
    placement = placed("cuda", TWO_GPUS, minWorkers=3, maxWorkers=3)
    assert placement.devices == ("cuda:0", "cuda:1", "cuda:0")


def test_device_ids_choose_among_the_gpus() -> None:
    assert placed("cuda", TWO_GPUS, deviceIds=[1]).devices == ("cuda:1",)
    with pytest.raises(ServeFailed, match=r"deviceIds \[5\]: this machine has 2 GPUs"):
        placed("cuda", TWO_GPUS, deviceIds=[5])


def test_pinned_workers_have_disjoint_cores() -> None:
    placement = placed(cores=4, minWorkers=2, maxWorkers=2, threads={"pin": True})
    assert placement.cpus == ((0, 1), (2, 3))


FOUR_GPUS = Platform("2.13.0", 4, False)


def test_torchruns_processes_share_the_cores() -> None:
    placement = placed(cores=8, torchrun={"nproc-per-node": 2})
    assert (placement.workers, placement.threads) == (4, 1)
    placement = placed(cores=8, minWorkers=1, maxWorkers=1, torchrun={"nproc-per-node": 2})
    assert (placement.workers, placement.threads) == (1, 4)
    assert placed(cores=8, torchrun={"nproc-per-node": 2, "OMP_NUMBER_THREADS": 3}).threads == 3


def test_torchruns_processes_have_a_gpu_each() -> None:
    placement = placed("cuda", FOUR_GPUS, parallelType="tp", torchrun={"nproc-per-node": 2})
    assert placement.spans == ((0, 1), (2, 3))
    assert placement.devices == ("cuda:0", "cuda:2")
    assert placement.all_devices == ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]


def test_a_worker_of_its_own_way_sees_as_many_gpus_as_it_takes() -> None:
    placement = placed("cuda", FOUR_GPUS, parallelType="custom", parallelLevel=2, deviceIds=[1, 2, 3])
    assert placement.spans == ((1, 2),)


def test_one_process_of_torchrun_sees_its_gpu_alone_and_other_workers_see_all() -> None:
    assert placed("cuda", TWO_GPUS, torchrun={"nproc-per-node": 1}).spans == ((0,), (1,))
    assert placed("cuda", TWO_GPUS).spans == ((), ())
    assert placed("cuda", TWO_GPUS).all_devices == ["cuda:0", "cuda:1"]


@pytest.mark.parametrize(
    ("torchrun", "said"),
    [
        ({"nproc-per-node": 3}, "each worker takes 3 GPUs"),
        ({"nproc-per-node": 2, "nnodes": 2}, "torchrun.nnodes 2: a worker's processes are all on one machine"),
    ],
)
def test_processes_that_cannot_be_had_are_refused(torchrun: dict[str, int], said: str) -> None:
    with pytest.raises(ServeFailed, match=said):
        placed("cuda", TWO_GPUS, torchrun=torchrun)
