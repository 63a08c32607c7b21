"""How many cores there are, told from the kernel's files of machines that are not this one."""

from __future__ import annotations

import pytest

from runner.pool.cores import available_cores, cpu_quota, default_threads, partition, usable_cores

V2 = {"/proc/self/cgroup": "0::/\n"}


def siblings(*groups):
    return {
        f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": group
        for group in groups
        for cpu in _members(group)
    }


def _members(group):
    low, _, high = group.partition("-")
    return range(int(low), int(high) + 1) if high else [int(part) for part in group.split(",")]


def test_without_a_word_from_the_kernel_every_allowed_cpu_is_a_core():
    assert usable_cores({3, 1, 2}, {}.get) == [1, 2, 3]


@pytest.mark.parametrize("groups", [("0,2", "1,3"), ("0-1", "2-3")], ids=["listed", "ranges"])
def test_the_second_hardware_thread_of_a_core_is_not_a_core(groups):
    assert len(usable_cores(range(4), siblings(*groups).get)) == 2


def test_when_only_the_second_hardware_thread_is_allowed_it_is_the_core():
    assert usable_cores({2, 3}, siblings("0,2", "1,3").get) == [2, 3]


@pytest.mark.parametrize(("limit", "cores"), [("200000 100000", 2), ("250000 100000", 2), ("50000 100000", 1)])
def test_no_more_cores_than_the_quota_pays_for(limit, cores):
    files = V2 | {"/sys/fs/cgroup/cpu.max": f"{limit}\n"}
    assert usable_cores(range(64), files.get) == list(range(cores))


def test_max_is_no_limit():
    assert cpu_quota((V2 | {"/sys/fs/cgroup/cpu.max": "max 100000\n"}).get) is None


def test_the_least_limit_on_the_way_to_the_root_counts():
    files = {
        "/proc/self/cgroup": "0::/kubepods/pod1/c1\n",
        "/sys/fs/cgroup/kubepods/pod1/cpu.max": "300000 100000",
        "/sys/fs/cgroup/kubepods/pod1/c1/cpu.max": "max 100000",
        "/sys/fs/cgroup/kubepods/cpu.max": "800000 100000",
    }
    assert cpu_quota(files.get) == 3.0


def test_version_1_is_read_from_the_cpu_controllers_own_tree():
    files = {
        "/proc/self/cgroup": "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n",
        "/sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us": "150000\n",
        "/sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000\n",
    }
    assert cpu_quota(files.get) == 1.5


def test_version_1_says_minus_one_for_no_limit():
    files = {
        "/proc/self/cgroup": "4:cpu:/\n",
        "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    }
    assert cpu_quota(files.get) is None


def test_this_machine_has_at_least_one_core():
    assert available_cores()


@pytest.mark.parametrize("cores", range(1, 9))
@pytest.mark.parametrize("workers", range(1, 9))
def test_workers_times_threads_exceed_the_cores_only_when_the_workers_do(workers, cores):
    threads = default_threads(workers, cores)
    assert threads == 1 or workers * threads <= cores


@pytest.mark.parametrize("cores", range(1, 9))
@pytest.mark.parametrize("workers", range(1, 9))
def test_parts_are_disjoint_even_and_complete_or_one_core_each(workers, cores):
    parts = partition(list(range(cores)), workers)
    assert len(parts) == workers
    if workers > cores:
        assert all(len(part) == 1 for part in parts)
        return
    assert sorted(cpu for part in parts for cpu in part) == list(range(cores))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
