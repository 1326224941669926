"""Step 7: torch.compile instead of fused kernels and graphs, and its cache in a second process."""

from __future__ import annotations

import os
import time

import torch

from benchmarks.gpu.context import Context, SkippedError
from fcos_core.engines.eager import exact_convolutions
from fcos_core.engines.folded import narrowed
from fcos_core.engines.folding import fold_norms

_BATCH = 32


def default(context: Context) -> None:
    _measure(context, "default")


def default_again(context: Context) -> None:
    _measure(context, "default", is_again=True)


def autotuned(context: Context) -> None:
    _measure(context, "max-autotune-no-cudagraphs")


def autotuned_again(context: Context) -> None:
    _measure(context, "max-autotune-no-cudagraphs", is_again=True)


def _measure(context: Context, mode: str, *, is_again: bool = False) -> None:
    if not context.is_cuda:
        raise SkippedError("compilation is of interest on CUDA only")
    cache = context.work / f"inductor-{mode}"
    if is_again and not cache.exists():
        raise SkippedError("the first process left no cache")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache)
    os.environ["TORCHINDUCTOR_FX_GRAPH_CACHE"] = "1"
    model = narrowed(fold_norms(context.model()), context.device, torch.bfloat16)

    def network(pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = model(pixels)
        return outputs.cls_logits, outputs.distances, outputs.centerness_logits

    pixels = context.noise(_BATCH).bfloat16()
    with torch.inference_mode(), exact_convolutions():
        expected = network(pixels)[0].float()
        compiled = torch.compile(network, mode=None if mode == "default" else mode)
        started = time.perf_counter()
        found = compiled(pixels)[0].float()
        context.wait()
        first = time.perf_counter() - started
        seconds = context.seconds(lambda: compiled(pixels))
    context.record(
        mode, second_process=is_again, first_call_s=round(first, 1), batch=_BATCH,
        images_per_s=round(_BATCH / seconds, 1),
        difference=round(float((found - expected).square().mean().sqrt() / expected.std()), 5),
    )  # fmt: skip
