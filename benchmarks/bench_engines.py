"""Every engine beside the torchvision loop, per image: R50 at 800 and 1333 pixels.

Each turn is a process of its own that loads the weights, computes the photos once to warm up, and
then measures: CPU seconds from decoded pixels to detections on the CPU. Ours keeps freed memory as
a worker does, the loop runs as it is written. The contestants take turns (A B C A B C ...). What an
fp32 engine finds is compared with what the loop finds: a difference fails the benchmark.
Writes ``results/<date>_<hardware>_engines.md``.
"""

# torch and cv2 leave some types unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bench_detect import DEFAULT_PHOTOS, EXTENSIONS
from machine import circumstances, page_name
from same_detections import Difference, Found, compare

from fcos_core.engines.choice import Hardware, choose_engine
from fcos_core.errors import ConfigError
from jobs.parallel.devices import cpu_has_bf16
from jobs.parallel.libraries import extras, installed_libraries

HERE = Path(__file__).resolve().parent
LOOP = "torchvision loop"
ENGINES = ("eager fp32", "folded fp32", "openvino fp32", "folded bf16", "openvino bf16")
Answer = Mapping[str, Any]


def main() -> int:
    """Run the benchmark, or one turn of it.

    Returns:
        0, or 1 when an fp32 engine and the loop found different things.
    """
    options = _options()
    if options.turn:
        print(json.dumps(_turn(options.turn, options)))
        return 0
    names, left_out = _contestants()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        weights = Path(name) / "random.pth"
        script = HERE / "random_weights.py"
        threshold = ["--score-threshold", str(options.score_threshold)]
        subprocess.run([sys.executable, script, options.images, weights, *threshold], check=True)  # noqa: S603
        rounds = [
            {one: _take_turn(one, weights, options) for one in names} for _ in range(options.rounds)
        ]
    page, is_same = make_page(rounds, left_out, options)
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / page_name("engines")).write_text(page, encoding="utf-8")
    print(page)
    return 0 if is_same else 1


def _contestants() -> tuple[list[str], list[str]]:
    """Name those that run here, and why the others do not."""
    hardware = Hardware(device="cpu", has_bf16=cpu_has_bf16(), extras=extras(installed_libraries()))
    names, left_out = [LOOP], list[str]()
    for text in ENGINES:
        engine, precision = text.split()
        try:
            choice = choose_engine(hardware, engine=engine, precision=precision)
        except ConfigError as error:
            left_out.append(f"{text}: {error}")
            continue
        if precision != "fp32" and not hardware.has_bf16:
            left_out.append(f"{text}: this processor has no bf16 units")
        else:
            names.append(f"{choice.engine} {choice.precision}")
    return names, left_out


def _take_turn(name: str, weights: Path, options: argparse.Namespace) -> Answer:
    command = [sys.executable, str(HERE / "bench_engines.py"), "--turn", name]
    command += ["--weights", str(weights), "--images", str(options.images)]
    command += ["--num-images", str(options.num_images), "--threads", str(options.threads)]
    command += ["--score-threshold", str(options.score_threshold)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    sys.stderr.write(f"{name}: {json.loads(done.stdout)['cpu_s']}\n")
    return json.loads(done.stdout)


def _turn(name: str, options: argparse.Namespace) -> Answer:
    import cv2
    import torch

    detect = _loop(options) if name == LOOP else _engine(name, options)
    torch.set_num_threads(options.threads)
    paths = sorted(p for p in options.images.iterdir() if p.suffix.lower() in EXTENSIONS)
    images = [
        cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        for path in paths[: options.num_images]
    ]
    detect(images[0])
    cpu_s: list[float] = []
    found: list[dict[str, Any]] = []
    for image in images:
        started = time.process_time()
        found.append(detect(image))
        cpu_s.append(round(time.process_time() - started, 4))
    return {"cpu_s": cpu_s, "found": found}


def _loop(options: argparse.Namespace) -> Callable[[np.ndarray], dict[str, Any]]:
    import torch

    sys.path.insert(0, str(HERE / "peers"))
    from published_fcos import load_fcos  # pyright: ignore[reportMissingImports]

    model = load_fcos(options.weights, options.score_threshold)

    def detect(image: np.ndarray) -> dict[str, Any]:
        with torch.inference_mode():
            (one,) = model([torch.from_numpy(image).permute(2, 0, 1).float() / 255])
        return {key: value.tolist() for key, value in one.items()}

    return detect


def _engine(name: str, options: argparse.Namespace) -> Callable[[np.ndarray], dict[str, Any]]:
    import torch

    from fcos_core import Predictor, load_checkpoint
    from jobs.worker.allocator import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(options.threads)
    engine, precision = name.split()
    predictor = Predictor(
        load_checkpoint(options.weights),
        device="cpu",
        engine=engine,
        precision=precision,
        score_threshold=options.score_threshold,
    )

    def detect(image: np.ndarray) -> dict[str, Any]:
        (one,) = predictor.predict_batch([image])
        return {
            "boxes": one.boxes.tolist(),
            "scores": one.scores.tolist(),
            "labels": one.labels.tolist(),
        }

    return detect


def make_page(
    rounds: Sequence[Mapping[str, Answer]], left_out: Sequence[str], options: argparse.Namespace
) -> tuple[str, bool]:
    """Write the page, and say whether every fp32 engine found what the loop found."""
    lines = [
        "# Engines beside the torchvision loop, per image\n",
        circumstances(
            f"python benchmarks/bench_engines.py --num-images {options.num_images} "
            f"--rounds {options.rounds} --threads {options.threads}",
            ("torch", "torchvision", *extras(installed_libraries())),
            (
                ("network", "ResNet-50 FPN, 91 classes, random weights (`random_weights.py`)"),
                ("photos", f"{options.num_images}, at 800 pixels (longer side at most 1333)"),
                ("score threshold", str(options.score_threshold)),
                ("threads", str(options.threads)),
            ),
        ),
        "",
        "| | CPU s per image | times the loop's speed | by round | detections "
        "| without counterpart | box px | score |",
        "|---|---|---|---|---|---|---|---|",
    ]
    is_same = True
    for name in rounds[0]:
        ratios = [_seconds(taken[LOOP]) / _seconds(taken[name]) for taken in rounds]
        difference = _difference(rounds[0], name)
        is_same &= name.endswith("bf16") or difference.is_none
        median = statistics.median(_seconds(taken[name]) for taken in rounds)
        lines.append(
            f"| {name} | {median:.3f} | {statistics.median(ratios):.2f} "
            f"| {', '.join(f'{ratio:.2f}' for ratio in ratios)} | {difference.num_other} "
            f"| {difference.num_alone} | {difference.max_box_px:.2g} "
            f"| {difference.max_score:.2g} |"
        )
    lines += [
        "",
        "CPU seconds: the median image of a round, then the median of rounds. Ratios are made "
        "within a round. *Without counterpart*: detections of either that the other lacks, within "
        "1 px and of the same class.",
        *(f"\nNot run here: {text}." for text in left_out),
    ]
    return "\n".join(lines) + "\n", is_same


def _seconds(answer: Answer) -> float:
    return statistics.median(answer["cpu_s"])


def _difference(taken: Mapping[str, Answer], name: str) -> Difference:
    return compare(_found(taken[LOOP]), _found(taken[name]))


def _found(answer: Answer) -> dict[str, Found]:
    return {
        str(i): Found(
            boxes=np.array(one["boxes"], np.float64).reshape(-1, 4),
            scores=np.array(one["scores"], np.float64),
            labels=np.array(one["labels"], np.int64),
        )
        for i, one in enumerate(answer["found"])
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, default=DEFAULT_PHOTOS, help="folder of photos")
    parser.add_argument("--num-images", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--score-threshold", type=float, default=0.2)
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--turn", help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
