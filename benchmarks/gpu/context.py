"""What every step has: its device and sizes, the lines it writes, and a clock."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.gpu.decoding import PHOTO_HEIGHT, PHOTO_WIDTH
from fcos_core import FCOS
from fcos_core.config import BackboneConfig, InputConfig, ModelConfig, preset_config

SCORE_THRESHOLD = 0.2


class SkippedError(Exception):
    """A step or a part of it cannot run here; the message says why."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        batches: sizes of the batches of the main measurements.
        rounds: medians are taken over so many.
        repeats: runs of a round.
        loop_images: of torchvision's loop.
        files: JPEGs that are read from end to end.
        demo_images: of the demo's dataset.
        side: of the square matrices.
        min_size_px: the shorter side of the network's input.
        photos: generated ones.
        is_small_model: a quarter of a ResNet-18 instead of a ResNet-50.
    """

    batches: tuple[int, ...] = (8, 16, 32, 64)
    rounds: int = 3
    repeats: int = 5
    loop_images: int = 30
    files: int = 2000
    demo_images: int = 300
    side: int = 8192
    min_size_px: int = 800
    photos: int = 16
    is_small_model: bool = False


QUICK = Sizes(
    batches=(1, 2), rounds=1, repeats=1, loop_images=1, files=8, demo_images=4, side=256,
    min_size_px=96, photos=2, is_small_model=True,
)  # fmt: skip


@dataclass(frozen=True)
class Context:
    """One step's surroundings."""

    step: str
    out: Path
    device: torch.device
    sizes: Sizes

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def work(self) -> Path:
        return self.out / "work"

    def record(self, name: str, **values: object) -> None:
        """Append a line to the results; it stays if the step is ended before its time."""
        line = json.dumps({"step": self.step, "name": name, **values})
        with (self.out / "results.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)

    def try_part(self, name: str, part: Callable[[], None]) -> None:
        """Run a part of a step; if it fails, the others still run, and the line says why."""
        try:
            part()
        except SkippedError as reason:
            self.record(name, skipped=str(reason))
        except Exception as error:  # noqa: BLE001 -- one form that fails must not hide the others
            text = (str(error).strip() or "no message").partition("\n")[0]
            self.record(name, failed=f"{type(error).__name__}: {text}")
        if self.is_cuda:
            torch.cuda.empty_cache()

    def wait(self) -> None:
        if self.is_cuda:
            torch.cuda.synchronize(self.device)

    def seconds(self, run: Callable[[], object], repeats: int | None = None) -> float:
        """Median over rounds of the seconds of one run, after two runs that do not count."""
        repeats = repeats or self.sizes.repeats
        for _ in range(2 if self.is_cuda else 1):
            run()
        found: list[float] = []
        for _ in range(self.sizes.rounds):
            self.wait()
            started = time.perf_counter()
            for _ in range(repeats):
                run()
            self.wait()
            found.append((time.perf_counter() - started) / repeats)
        return statistics.median(found)

    def config(self) -> ModelConfig:
        config = preset_config("torchvision", 91)
        if self.sizes.is_small_model:
            backbone = BackboneConfig(name="resnet18", width=0.25, norm="batch", fpn_channels=32)
            head = replace(config.head, num_convs=1, num_groups=8)
            config = replace(config, backbone=backbone, head=head)
        size = self.sizes.min_size_px
        return replace(config, input=InputConfig(min_size_px=size, max_size_px=size * 5 // 3))

    def model(self) -> FCOS:
        """The model of all steps, with the weights that ``prepare`` made."""
        model = FCOS(self.config())
        state = torch.load(self.work / "weights.pt", map_location="cpu", weights_only=True)
        model.load_state_dict(state)
        return model.eval()

    def noise(self, batch_size: int, shape: tuple[int, int] | None = None) -> torch.Tensor:
        """Pixels on the device, channels last."""
        rows, columns = shape or self.shape()
        generator = torch.Generator(self.device).manual_seed(0)
        pixels = torch.randn(
            (batch_size, 3, rows, columns), generator=generator, device=self.device
        )
        return pixels.contiguous(memory_format=torch.channels_last)

    def shape(self) -> tuple[int, int]:
        """Padded height and width of the photos."""
        from fcos_core.images import padded_shape

        return padded_shape(PHOTO_HEIGHT, PHOTO_WIDTH, self.config().input)
