"""Networks compute in bfloat16 where that is asked for, or where the GPUs are made for it."""

import pytest
import tensorflow as tf

from train.training import device


def set_gpus(monkeypatch: pytest.MonkeyPatch, *capabilities: tuple[int, int]) -> None:
    gpus = [tf.config.PhysicalDevice(f"/gpu:{index}", "GPU") for index, _ in enumerate(capabilities)]
    details = {
        gpu.name: {"compute_capability": capability, "device_name": f"GPU {capability[0]}.{capability[1]}"}
        for gpu, capability in zip(gpus, capabilities, strict=True)
    }
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: gpus)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details[gpu.name])


@pytest.mark.parametrize(
    ("capabilities", "policy"),
    [((), "float32"), (((8, 0),), "mixed_bfloat16"), (((7, 5),), "float32"), (((9, 0), (7, 0)), "float32")],
)
def test_the_machine_decides_by_default(capabilities, policy: str, monkeypatch: pytest.MonkeyPatch):
    set_gpus(monkeypatch, *capabilities)

    assert device.choose_policy("auto") == policy


def test_the_configuration_decides_otherwise(monkeypatch: pytest.MonkeyPatch):
    set_gpus(monkeypatch, (9, 0))

    assert device.choose_policy(mixed_precision=False) == "float32"
    assert device.choose_policy(mixed_precision=True) == "mixed_bfloat16"


def test_the_device_is_described(monkeypatch: pytest.MonkeyPatch):
    set_gpus(monkeypatch, (9, 0))
    assert device.describe_device("auto") == "GPU 9.0, in bfloat16"

    set_gpus(monkeypatch)
    monkeypatch.setattr(device.os, "cpu_count", lambda: 4)
    assert device.describe_device("auto") == "processor, 4 cores, in float32"
