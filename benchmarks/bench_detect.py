"""``fcos detect`` beside a plain torchvision loop and a Ray Data pipeline, in one go.

Same photos, same weights, same threshold, same total number of threads, a GPU for all where there
is one. The contestants take turns (A B C A B C ...), each time as a new process with a new place to
write to; tables show medians. What ours found is compared with what the loop found: a difference
fails the benchmark. Writes ``results/<date>_<hardware>_detect.md``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from detect.contestants import CONTESTANTS, HERE, OURS, Setup, environment, fcos_command
from detect.report import Round, Session, difference, make_report, result_name
from process_tree import measure

DEFAULT_PHOTOS = HERE.parents[1] / "shared" / "data" / "coco_tiny" / "val2017"
EXTENSIONS = {".jpg", ".jpeg", ".png"}


def main() -> int:
    """Run the benchmark.

    Returns:
        0, or 1 when ours and the loop found different things.
    """
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if find_spec("pandas") is None:
        raise SystemExit("the Ray Data peer needs pandas, which Ray's extra 'ray[data]' brings")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        photos = folder / "photos"
        num_photos = _copy_photos(options.images, photos, options.limit)
        weights = options.weights or _make_weights(photos, folder, options.score_threshold)
        plan = _plan(photos, weights, folder)
        setup = Setup(
            photos=photos,
            num_photos=num_photos,
            weights=weights,
            score_threshold=options.score_threshold,
            device=plan["device"],
            # More actors than shards are never started.
            workers=1 if options.threads else min(plan["num_actors"], plan["shards"]),
            threads=options.threads or plan["threads_per_actor"],
            is_auto=options.threads is None,
            ray_data_batch=options.ray_data_batch,
        )
        session = Session.begin(setup, plan, options.weights)
        rounds: list[Round] = []
        options.results.mkdir(parents=True, exist_ok=True)
        path = options.results / result_name(session)
        for number in range(1, options.rounds + 1):
            rounds.append(_take_turns(setup, folder, number))
            path.write_text(make_report(session, rounds), encoding="utf-8")
    print(make_report(session, rounds))
    _say(f"written to {path}")
    return 0 if all(difference(taken, OURS).is_none for taken in rounds) else 1


def _take_turns(setup: Setup, folder: Path, number: int) -> Round:
    """Run every contestant once."""
    taken: Round = {}
    for contestant in CONTESTANTS:
        out = folder / f"{contestant.name.replace(' ', '-')}-{number}"
        _say(f"round {number}: {contestant.name} ...")
        measured = measure(
            contestant.command(setup, out), environment(), out.with_name(f"{out.name}.log")
        )
        turn = contestant.read_turn(out, measured)
        _say(f"  {measured.wall_s:.1f} s, of which {turn.account.steady_s:.1f} s at work")
        taken[contestant.name] = turn
    return taken


def _copy_photos(source: Path, target: Path, limit: int | None) -> int:
    """Give all contestants one folder with just the photos meant, in the page cache already."""
    if not source.is_dir():
        raise SystemExit(f"no folder {source}: pass --images DIR")
    found = sorted(path for path in source.iterdir() if path.suffix.lower() in EXTENSIONS)[:limit]
    if not found:
        raise SystemExit(f"{source} has no {', '.join(sorted(EXTENSIONS))}")
    target.mkdir()
    for path in found:
        shutil.copyfile(path, target / path.name)
    return len(found)


def _make_weights(photos: Path, folder: Path, score_threshold: float) -> Path:
    _say("making random weights ...")
    path = folder / "random.pth"
    script = HERE / "random_weights.py"
    threshold = ["--score-threshold", str(score_threshold)]
    subprocess.run([sys.executable, script, photos, path, *threshold], check=True)  # noqa: S603 -- our own script
    return path


def _plan(photos: Path, weights: Path, folder: Path) -> dict[str, Any]:
    """Ask ``fcos detect`` what it would compute on, so that the peers get the same."""
    command = [*fcos_command(photos, weights, 0.5, folder / "plan"), "--dry-run"]
    answer = measure(command, environment(), folder / "plan.log")
    return json.loads(answer.stdout.splitlines()[-1])


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, default=DEFAULT_PHOTOS, help="folder of photos")
    parser.add_argument("--limit", type=int, help="take only the first N photos")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--weights", type=Path, help="torchvision's, as .pth; default: random ones")
    parser.add_argument("--score-threshold", type=float, default=0.2)
    parser.add_argument(
        "--threads", type=int, help="give each contestant one worker with so many; default: auto's"
    )
    parser.add_argument("--ray-data-batch", type=int, default=4)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
