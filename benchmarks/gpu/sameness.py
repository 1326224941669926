"""Step 8: the device's input and decoding against the CPU's, and a loop that never waits."""

from __future__ import annotations

import torch

from benchmarks.gpu.context import SCORE_THRESHOLD, Context, SkippedError
from benchmarks.gpu.photos import photos
from fcos_core.decoding.exact import decode_exact
from fcos_core.decoding.fixed import decode_fixed
from fcos_core.engines.folded import FoldedEngine
from fcos_core.engines.submission import Stager, network_input
from fcos_core.images import make_batch
from fcos_core.predictor import Predictor
from fcos_core.structures import HeadOutputs

_MOST_IMAGES = 4


def run(context: Context) -> None:
    context.try_part("input", lambda: _input(context))
    context.try_part("decoding", lambda: _decoding(context))
    context.try_part("waiting", lambda: _waiting(context))


def _input(context: Context) -> None:
    images, config = photos(context)[:_MOST_IMAGES], context.config().input
    count = len(images)
    expected = make_batch(images, config, torch.device("cpu"), batch_size=count).pixels
    staged = Stager(context.device).stage(images, config)
    found = network_input(staged, config, batch_size=count).cpu()
    context.record(
        "input", is_equal=bool(torch.equal(found, expected)),
        max_difference=float((found - expected).abs().max()),
    )  # fmt: skip


def _decoding(context: Context) -> None:
    """The same outputs, decoded by the exact form on the CPU and by the fixed one on the device."""
    model, cpu = context.model(), torch.device("cpu")
    images = photos(context)[:_MOST_IMAGES]
    batch = make_batch(images, model.config.input, cpu, batch_size=len(images))
    config = Predictor(model, device="cpu", score_threshold=SCORE_THRESHOLD).decoding
    with torch.inference_mode():
        outputs = FoldedEngine(model, cpu, "fp32")(batch.pixels)
        grid = model.grid(batch.pixels, outputs)
        expected = decode_exact(
            outputs, grid, config, sizes=batch.sizes, unit_px=model.distance_unit_px(grid)
        )
        moved = HeadOutputs(
            outputs.cls_logits.to(context.device),
            outputs.distances.to(context.device),
            outputs.centerness_logits.to(context.device),
            outputs.level_shapes,
        )
        there = model.grid(batch.pixels, moved)
        found = decode_fixed(
            moved, there, config, sizes=batch.sizes.to(context.device),
            unit_px=model.distance_unit_px(there),
        ).cpu()  # fmt: skip
    same, total = 0, 0
    largest = 0.0
    for i in range(len(images)):
        count = int(expected.counts[i])
        total += count
        if int(found.counts[i]) == count:
            same += int((found.labels[i, :count] == expected.labels[i, :count]).sum())
            difference = (found.scores[i, :count] - expected.scores[i, :count]).abs()
            largest = max(largest, float(difference.max()) if count else 0.0)
    context.record(
        "decoding", detections=total, same_place_and_label=same, max_score_difference=largest,
        within_limits=int(found.is_exact.sum()), images=len(images),
    )  # fmt: skip


def _waiting(context: Context) -> None:
    if not context.is_cuda:
        raise SkippedError("torch reports waiting for CUDA devices only")
    predictor = Predictor(
        context.model(), device=context.device, engine="cuda", precision="bf16", batch_size=8,
        score_threshold=SCORE_THRESHOLD,
    )  # fmt: skip
    images = photos(context)[:8]
    expected = predictor.submit(images).result()
    torch.cuda.set_sync_debug_mode("error")
    try:
        first = predictor.submit(images)
        found = []
        for _ in range(4):
            second = predictor.submit(images)
            found.append(first.result())
            first = second
    finally:
        torch.cuda.set_sync_debug_mode("default")
    found.append(first.result())
    same = all(
        torch.equal(one.boxes, other.boxes) and torch.equal(one.scores, other.scores)
        for batch in found
        for one, other in zip(batch, expected, strict=True)
    )
    context.record("waiting", batches=5, waited=False, same_bits_each_time=same)
