"""Shards grow with the items, end in time on a CPU, and fill a file on a GPU."""

import pytest

from fcos_core.config import ModelConfig, torchvision
from jobs.parallel.resources import Resources
from jobs.planning.model_card import read_model_card
from jobs.planning.shard_size import auto_shard_size, cpu_seconds

DEMO = read_model_card("demo").config


def size(
    num_rows: int, model: ModelConfig, *, is_sized: bool, device: str = "cpu", threads: int = 2
) -> int:
    resources = Resources(num_cpus=2, num_gpus=0, device=device, device_model="x")
    return auto_shard_size(
        num_rows, is_sized=is_sized, resources=resources, threads=threads, model=model
    )


@pytest.mark.parametrize(
    ("num_rows", "with_sizes", "without"),
    [(1, 16, 64), (300, 16, 64), (1000, 32, 125), (5000, 157, 256), (10**8, 256, 256)],
)
def test_shards_of_a_small_network_grow_with_the_items(
    num_rows: int, with_sizes: int, without: int
):
    assert size(num_rows, DEMO, is_sized=True) == with_sizes
    assert size(num_rows, DEMO, is_sized=False) == without


@pytest.mark.parametrize("threads", [1, 2, 4, 16])
@pytest.mark.parametrize("is_sized", [False, True])
def test_a_shard_of_a_large_network_is_done_in_twenty_seconds(threads: int, *, is_sized: bool):
    model = torchvision()
    rows = size(10**6, model, is_sized=is_sized, threads=threads)
    assert rows * cpu_seconds(model, threads) <= 20
    assert (rows + 1) * cpu_seconds(model, threads) > 20 or rows == 256


def test_an_image_that_takes_longer_is_a_shard_of_its_own():
    assert size(10**6, torchvision(backbone="resnet101"), is_sized=True, threads=1) >= 1


def test_on_a_gpu_a_large_run_has_large_files():
    assert size(10**8, torchvision(), is_sized=False, device="cuda") == 8192
    assert size(300, torchvision(), is_sized=True, device="cuda") == 16
