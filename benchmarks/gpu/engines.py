"""Steps 2, 3, 4 and 6: torchvision's loop, and the engines one after another, network alone."""

from __future__ import annotations

import time

import torch
from torchvision.models.detection import fcos_resnet50_fpn

from benchmarks.gpu.context import SCORE_THRESHOLD, Context, SkippedError
from benchmarks.gpu.decoding import decode
from benchmarks.gpu.photos import drift, encode, keep_reference, photos
from fcos_core.engines.cuda import CudaEngine
from fcos_core.engines.eager import EagerEngine, exact_convolutions
from fcos_core.engines.engine import Engine
from fcos_core.engines.folded import FoldedEngine
from fcos_core.predictor import Predictor


def loop(context: Context) -> None:
    """One photo at a time through torchvision's own model, as in ``peers/torchvision_loop.py``."""
    if context.sizes.is_small_model:
        model = fcos_resnet50_fpn(weights=None, weights_backbone=None).eval()
    else:
        from published_fcos import load_fcos  # pyright: ignore[reportMissingImports] -- in peers/

        model = load_fcos(context.work / "weights.pt", SCORE_THRESHOLD)
    model.to(context.device)
    size = context.sizes.min_size_px
    model.transform.min_size, model.transform.max_size = (size,), size * 5 // 3
    encoded = [encode(photo) for photo in photos(context)]

    def one(data: bytes) -> int:
        image = torch.from_numpy(decode(data)).to(context.device)
        with torch.inference_mode():
            (detections,) = model([image.permute(2, 0, 1).float() / 255])
        return len(detections["scores"].tolist())

    one(encoded[0])
    count = context.sizes.loop_images
    started = time.perf_counter()
    detections = sum(one(encoded[i % len(encoded)]) for i in range(count))
    seconds = time.perf_counter() - started
    context.record(
        "torchvision loop", images=count, detections=detections,
        images_per_s=round(count / seconds, 2),
    )  # fmt: skip


def eager(context: Context) -> None:
    predictor = Predictor(
        context.model(), device=context.device, batch_size=1, score_threshold=SCORE_THRESHOLD
    )
    keep_reference(context, predictor(photos(context)))
    for precision in ("fp32", "bf16"):
        engine = EagerEngine(context.model(), context.device, precision)
        for batch in (1, 8, 32) if context.is_cuda else context.sizes.batches:
            context.try_part("eager", lambda e=engine, b=batch: speed(context, "eager", e, b))


def folded(context: Context) -> None:
    engine = FoldedEngine(context.model(), context.device, "bf16")
    for batch in context.sizes.batches:
        context.try_part("folded", lambda b=batch: speed(context, "folded", engine, b))
    del engine
    context.try_part("drift", lambda: _drift(context, "folded", "bf16"))


def graphs(context: Context) -> None:
    """The CUDA engine as it is used, and without graphs."""
    engine = CudaEngine(context.model(), context.device, "bf16")
    context.record("cuda", description=engine.description)
    for batch in context.sizes.batches:
        context.try_part("cuda", lambda b=batch: speed(context, "cuda", engine, b))
    batch = context.sizes.batches[-2]
    rows, columns = context.shape()
    context.try_part(
        "another shape", lambda: speed(context, "cuda", engine, batch, (columns, rows))
    )
    context.try_part("without graphs", lambda: _without_graphs(context, engine, batch))
    context.try_part("repeats", lambda: _repeats(context, engine, batch))
    del engine
    for precision in ("bf16", "fp16", "fp32"):
        context.try_part("drift", lambda p=precision: _drift(context, "cuda", p))


def speed(
    context: Context,
    name: str,
    engine: Engine,
    batch: int,
    shape: tuple[int, int] | None = None,
) -> None:
    pixels = context.noise(batch, shape)
    started = time.perf_counter()
    with torch.inference_mode():
        engine(pixels)
        context.wait()
        first = time.perf_counter() - started
        seconds = context.seconds(lambda: engine(pixels))
    context.record(
        name, precision=engine.precision, batch=batch, shape=list(pixels.shape[-2:]),
        images_per_s=round(batch / seconds, 2), ms_per_image=round(1e3 * seconds / batch, 4),
        first_call_s=round(first, 2),
    )  # fmt: skip


def _without_graphs(context: Context, engine: CudaEngine, batch: int) -> None:
    network = engine._network  # noqa: SLF001 -- what the graphs are made of
    pixels = context.noise(batch).bfloat16()
    for benchmark in (False, True):
        with torch.inference_mode(), exact_convolutions():
            torch.backends.cudnn.benchmark = benchmark
            seconds = context.seconds(lambda: network(pixels))
        context.record(
            "without graphs", batch=batch, kernels_chosen_by_timing=benchmark,
            images_per_s=round(batch / seconds, 2),
        )  # fmt: skip


def _repeats(context: Context, engine: CudaEngine, batch: int) -> None:
    """Whether the same batch gives the same bits each time."""
    pixels = context.noise(batch)
    first = engine(pixels).cls_logits.clone()
    same = [bool(torch.equal(engine(pixels).cls_logits, first)) for _ in range(5)]
    context.record("repeats", batch=batch, all_equal=all(same))


def _drift(context: Context, engine: str, precision: str) -> None:
    if engine == "cuda" and not context.is_cuda:
        raise SkippedError("the CUDA engine needs a CUDA device")
    predictor = Predictor(
        context.model(), device=context.device, engine=engine, precision=precision,
        batch_size=8, score_threshold=SCORE_THRESHOLD,
    )  # fmt: skip
    context.record(
        "drift", engine=engine, precision=precision, **drift(context, predictor(photos(context)))
    )
