"""Generate a dataset: ``python -m jobs.synthetic OUT --images N --seed S``."""

import argparse
import sys
from pathlib import Path

from fcos_core.errors import ConfigError
from jobs.printable import printable
from jobs.synthetic import generate


def main() -> int:
    """Run the command; the last line on stdout is the annotation file."""
    parser = argparse.ArgumentParser(prog="python -m jobs.synthetic", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the dataset")
    parser.add_argument("--images", type=int, required=True, help="number of images")
    parser.add_argument("--seed", type=int, required=True, help="seed of all randomness")
    parser.add_argument(
        "--frames", type=int, default=0, help="number of frames of the video; 0 for no video"
    )
    arguments = parser.parse_args()
    if arguments.images < 1 or arguments.seed < 0 or arguments.frames < 0:
        parser.error("--images must be at least 1, --seed and --frames at least 0")
    try:
        annotations = generate(
            arguments.out,
            num_images=arguments.images,
            seed=arguments.seed,
            num_frames=arguments.frames,
        )
    except ConfigError as error:
        sys.stderr.write(f"error: {printable(str(error))}\n")
        return 2
    sys.stdout.write(f"{annotations}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
