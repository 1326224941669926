"""Steps 5, 11 and 12: fused steps one by one, memory, and the longest kernels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.context import SCORE_THRESHOLD, Context, SkippedError
from benchmarks.gpu.photos import photos
from fcos_core.engines.cuda import CudaEngine
from fcos_core.engines.cuda_memory import bytes_per_image, cuda_batch_size
from fcos_core.engines.cuda_probe import dirty_memory
from fcos_core.engines.eager import exact_convolutions
from fcos_core.engines.operations import PLAIN, Operations, probe_operations
from fcos_core.predictor import Predictor

_NUM_KERNELS = 10


def fused(context: Context) -> None:
    norm = nn.GroupNorm(32, 256).to(device=context.device, dtype=torch.bfloat16)
    with torch.inference_mode(), exact_convolutions():
        for dtype in (torch.bfloat16, torch.float32, torch.float16):
            probed = probe_operations(context.device, dtype, norm.to(dtype))
            context.record(
                "accepted", dtype=str(dtype), fused=list(probed.operations.names),
                refused=list(probed.refusals),
            )  # fmt: skip
        norm = norm.to(torch.bfloat16)
        operations = probe_operations(context.device, torch.bfloat16, norm).operations
        batch = 32 if context.is_cuda else 1
        for name, plain, other in _steps(context, operations, norm, batch):
            context.try_part(name, lambda n=name, p=plain, o=other: _compare(context, n, p, o))
        context.try_part("NaN", lambda: _nan(context, operations))


def _steps(
    context: Context, operations: Operations, norm: nn.GroupNorm, batch: int
) -> list[tuple[str, Callable[[], Tensor], Callable[[], Tensor]]]:
    scale = 1 if context.is_cuda else 8
    rows, columns = 100 // scale, 136 // scale
    wide, maps = _conv(context, 256, 256, 3), _maps(context, batch, 256, rows, columns)
    narrow, thin = _conv(context, 64, 256, 1), _maps(context, batch, 64, 2 * rows, 2 * columns)
    added = _maps(context, batch, 256, 2 * rows, 2 * columns)
    levels = [_maps(context, batch, 256, -(-rows // 2**i), -(-columns // 2**i)) for i in range(5)]
    return [
        (
            "convolution 3x3, ReLU",
            lambda: PLAIN.conv_relu(maps, wide),
            lambda: operations.conv_relu(maps, wide),
        ),
        (
            "convolution 1x1, addition, ReLU",
            lambda: PLAIN.conv_add_relu(thin, narrow, added),
            lambda: operations.conv_add_relu(thin, narrow, added),
        ),
        (
            "convolution 3x3, group norm, ReLU, five levels",
            lambda: PLAIN.conv_norm_relu(levels, wide, norm)[0],
            lambda: operations.conv_norm_relu(levels, wide, norm)[0],
        ),
    ]


def _compare(
    context: Context, name: str, plain: Callable[[], Tensor], other: Callable[[], Tensor]
) -> None:
    expected = plain()
    dirty_memory(context.device, large_bytes=2**28 if context.is_cuda else 2**20)
    found = other()
    difference = (found.float() - expected.float()).abs()
    before, after = context.seconds(plain), context.seconds(other)
    context.record(
        name,
        plain_ms=round(1e3 * before, 4),
        fused_ms=round(1e3 * after, 4),
        ratio=round(before / after, 2),
        max_difference=float(difference.max()),
        deviation=float(expected.float().std()),
        is_same_each_time=bool(torch.equal(other(), found)),
    )


def _nan(context: Context, operations: Operations) -> None:
    conv, maps = _conv(context, 64, 64, 3), _maps(context, 1, 64, 8, 8)
    maps[0, 0, 4, 4] = float("nan")
    kept = bool(operations.conv_relu(maps, conv).isnan().any())
    context.record("NaN", kept_by_fused_relu=kept, fused="convolution+ReLU" in operations.names)


def _conv(context: Context, inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    conv = conv.to(device=context.device, dtype=torch.bfloat16).requires_grad_(requires_grad=False)
    return conv.to(memory_format=torch.channels_last)


def _maps(context: Context, batch: int, channels: int, rows: int, columns: int) -> Tensor:
    generator = torch.Generator(context.device).manual_seed(0)
    maps = torch.randn((batch, channels, rows, columns), generator=generator, device=context.device)
    return maps.bfloat16().contiguous(memory_format=torch.channels_last)


def memory(context: Context) -> None:
    """What the formula of the batch size plans, and what two batches under way really take."""
    shape, config = context.shape(), context.config()
    planned = bytes_per_image(shape, config, "bf16")
    if not context.is_cuda:
        context.record(
            "planned", mib_per_image=round(planned / 2**20, 1),
            batch_at_16_gib=cuda_batch_size(16 * 2**30, shape, config, "bf16"),
        )  # fmt: skip
        context.record("measured", skipped="needs a CUDA device")
        return
    free, total = torch.cuda.mem_get_info(context.device)
    context.record(
        "planned", mib_per_image=round(planned / 2**20, 1), free_gib=round(free / 2**30, 1),
        total_gib=round(total / 2**30, 1), batch=cuda_batch_size(free, shape, config, "bf16"),
    )  # fmt: skip
    for batch in (8, 32):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        predictor = Predictor(
            context.model(), device=context.device, engine="cuda", precision="bf16",
            batch_size=batch, score_threshold=SCORE_THRESHOLD,
        )  # fmt: skip
        images = (photos(context) * 2)[:batch]
        before = torch.cuda.memory_reserved()
        pending = [predictor.submit(images) for _ in range(2)]
        for one in pending:
            one.result()
        reserved = torch.cuda.max_memory_reserved()
        context.record(
            "measured", batch=batch, reserved_gib=round(reserved / 2**30, 2),
            mib_per_image=round((reserved - before) / batch / 2**20, 1),
        )  # fmt: skip
        del predictor, pending


def kernels(context: Context) -> None:
    """The ten longest kernels of the network."""
    batch = 32 if context.is_cuda else 1
    engine = CudaEngine(context.model(), context.device, "bf16")
    pixels = context.noise(batch)
    activity = ProfilerActivity.CUDA if context.is_cuda else ProfilerActivity.CPU
    engine(pixels)
    context.wait()
    with torch.inference_mode(), profile(activities=[activity]) as profiled:
        for _ in range(context.sizes.repeats):
            engine(pixels)
        context.wait()
    events = [
        (
            event.key,
            _device_us(event) if context.is_cuda else event.self_cpu_time_total,
            event.count,
        )
        for event in profiled.key_averages()
    ]
    total = sum(microseconds for _, microseconds, _ in events)
    if not total:
        raise SkippedError("the profiler saw no kernels")
    for key, microseconds, count in sorted(events, key=lambda event: -event[1])[:_NUM_KERNELS]:
        context.record(
            "kernel", kernel=key[:160], share=round(microseconds / total, 4),
            ms_per_image=round(microseconds / 1e3 / context.sizes.repeats / batch, 5),
            calls=count // context.sizes.repeats,
        )  # fmt: skip
    context.record(
        "all kernels", ms_per_image=round(total / 1e3 / context.sizes.repeats / batch, 4)
    )


def _device_us(event: object) -> float:
    value = getattr(event, "self_device_time_total", None)
    return float(value if value is not None else getattr(event, "self_cuda_time_total", 0.0))
