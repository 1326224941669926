"""The batch size that ``auto`` comes to: free memory, and how well images of one shape fill it."""

import pytest

from fcos_core.config import preset_config
from jobs.inputs.item import InputItem
from jobs.inputs.item_spool import ItemSpool
from jobs.parallel.resources import Resources
from jobs.planning.batch_size import auto_batch_size, filled_share
from jobs.planning.manifest import PlannedItems, SizeGroups
from jobs.planning.ordered_items import OrderedItems

R50 = preset_config("torchvision", 91)
GIB = 2**30


def gpu(free_gib: float) -> Resources:
    return Resources(
        num_cpus=8,
        num_gpus=1,
        device="cuda",
        device_model="a GPU",
        has_bf16=True,
        free_gpu_bytes=int(free_gib * GIB),
    )


def items(*sizes: tuple[int | None, int | None], shard_size: int = 64) -> SizeGroups | None:
    listed = ItemSpool.of(
        InputItem(uri=f"/images/{i}.jpg", width=width, height=height)
        for i, (width, height) in enumerate(sizes)
    )
    with PlannedItems(OrderedItems(listed, lambda _: {}), shard_size) as planned:
        return planned.size_groups


def test_a_cpu_computes_images_one_by_one() -> None:
    cpu = Resources(num_cpus=8, num_gpus=0, device="cpu", device_model="a CPU")
    assert auto_batch_size(cpu, items(*[(640, 480)] * 64), R50, "fp32") == 1


@pytest.mark.parametrize(("free_gib", "expected"), [(70, 32), (0.5, 1), (0.1, 1)])
def test_images_of_one_size_fill_what_memory_allows(free_gib: float, expected: int) -> None:
    chosen = auto_batch_size(gpu(free_gib), items(*[(640, 480)] * 256), R50, "bf16")
    assert chosen == expected


def test_less_memory_never_means_a_larger_batch() -> None:
    same = items(*[(640, 480)] * 256)
    sizes = [auto_batch_size(gpu(gib), same, R50, "bf16") for gib in (2, 4, 8, 16, 32, 64)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_batches_of_many_shapes_stay_small() -> None:
    """Sixteen shapes of four images each: three of four places of a batch of 16 would be zeros."""
    shapes = [(320 + 40 * (i // 4), 320) for i in range(64)]
    assert filled_share(items(*shapes), R50, 16) < 0.5
    assert auto_batch_size(gpu(70), items(*shapes), R50, "bf16") == 8


def test_images_of_unknown_size_stay_small() -> None:
    unknown = items(*[(640, 480)] * 63, (None, None))
    assert auto_batch_size(gpu(70), unknown, R50, "bf16") == 8


def test_an_image_counts_in_its_own_shard() -> None:
    """Forty equal images in shards of twenty are two batches of 32, half of each zeros."""
    assert filled_share(items(*[(640, 480)] * 40, shard_size=20), R50, 32) == 40 / 64
