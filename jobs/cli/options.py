"""Arguments and options that several commands share. None unless given: see ``commands.py``."""

from typing import Annotated

import typer

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        help="image, folder, pattern, list file, COCO json, WebDataset tar or Parquet file",
        show_default=False,
    ),
]
Run = Annotated[str | None, typer.Argument(metavar="RUN", help="directory of a run")]
RunOut = Annotated[str | None, typer.Option("--out", metavar="RUN", help="directory of the run")]
Annotations = Annotated[
    str | None, typer.Option(metavar="FILE", help="COCO annotation file to score against")
]
ConfigFile = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="YAML or TOML file of settings; flags win"),
]
Weights = Annotated[
    str | None,
    typer.Option(metavar="SPEC", help="coco (torchvision's), demo, or a path or uri  [coco]"),
]
ImageRoot = Annotated[
    str | None, typer.Option(metavar="DIR", help="where the images of a COCO json lie")
]
ScoreThreshold = Annotated[
    float | None, typer.Option(metavar="SCORE", help="detections score above this  [0.05]")
]
Precision = Annotated[str | None, typer.Option(metavar="auto|fp32|bf16|fp16", help="  [auto]")]
Engine = Annotated[str | None, typer.Option(metavar="auto|eager", help="  [auto]")]
BatchSize = Annotated[int | None, typer.Option(metavar="N", help="images per forward pass")]
NumActors = Annotated[
    str | None, typer.Option(metavar="N", help="workers; auto is one per GPU  [auto]")
]
Threads = Annotated[int | None, typer.Option(metavar="N", help="cores of each worker")]
ShardSize = Annotated[
    int | None, typer.Option(metavar="N", help="images and frames per output file")
]
MaxBad = Annotated[
    str | None,
    typer.Option(metavar="N|P%", help="exit 3 when more images are quarantined  [no limit]"),
]
RetryQuarantined = Annotated[
    bool | None,
    typer.Option(
        "--retry-quarantined",
        help="try again what the run has quarantined, as it is now",
        show_default=False,
    ),
]
EveryNFrames = Annotated[
    int | None, typer.Option(metavar="N", help="of videos, look at every Nth frame  [1]")
]
Fps = Annotated[
    float | None, typer.Option(metavar="F", help="of videos, look at F frames a second  [all]")
]
Stream = Annotated[
    int | None, typer.Option(metavar="N", help="of videos, which stream of the file  [best]")
]
Limit = Annotated[
    int | None, typer.Option(metavar="N", help="look only at the first N images and videos")
]
DryRun = Annotated[
    bool | None, typer.Option("--dry-run", help="print the plan and do nothing", show_default=False)
]
Address = Annotated[str | None, typer.Option(metavar="RAY", help="of a running Ray cluster")]
UnsafeCommit = Annotated[
    bool | None,
    typer.Option(
        "--allow-unsafe-commit",
        help="write to an S3 server that cannot create without replacing; use one driver only",
        show_default=False,
    ),
]
MixedDevices = Annotated[
    bool | None,
    typer.Option(
        "--allow-mixed-devices",
        help="resume on another device; the digest is then no longer exact",
        show_default=False,
    ),
]
