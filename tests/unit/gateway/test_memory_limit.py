from pathlib import Path

import pytest

from gateway.memory_limit import available_bytes, cgroup_limits


@pytest.mark.parametrize(
    ("membership", "folder", "name"),
    [
        ("0::/app/inner\n", "app", "memory.max"),
        ("0::/somewhere/outside\n", "", "memory.max"),
        ("3:cpu:/\n2:memory,hugetlb:/app\n", "memory/app", "memory.limit_in_bytes"),
    ],
)
def test_limits_of_the_control_group_and_those_around_it_are_found(
    tmp_path: Path, membership: str, folder: str, name: str
):
    (tmp_path / "membership").write_text(membership)
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / folder / name).write_text("1048576\n")

    assert list(cgroup_limits(tmp_path / "membership", tmp_path)) == [1048576]


def test_a_system_without_control_groups_has_no_limit_beside_the_machine(tmp_path: Path):
    assert list(cgroup_limits(tmp_path / "absent", tmp_path)) == []
    assert available_bytes() > 0
