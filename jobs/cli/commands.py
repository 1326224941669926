"""The ``fcos`` command: parse, build the job's settings, call its ``run()``, say the exit code.

Jobs are imported inside their commands, so that ``fcos --help`` does not wait for torch and Ray.
Options are None unless given: defaults are those of the settings classes, and ``--config FILE``
stands between.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.exceptions import TyperException

from fcos_core.errors import ConfigError
from jobs.cli.options import (
    Address,
    Annotations,
    BatchSize,
    ConfigFile,
    DryRun,
    Engine,
    EveryNFrames,
    Fps,
    ImageRoot,
    Inputs,
    Limit,
    MaxBad,
    MixedDevices,
    NumActors,
    Precision,
    RetryQuarantined,
    Run,
    RunOut,
    ScoreThreshold,
    ShardSize,
    Stream,
    Threads,
    UnsafeCommit,
    Weights,
)
from jobs.cli.output import (
    EXIT_CANNOT_WORK,
    EXIT_DONE,
    JobResult,
    exit_codes,
    say_bpr,
    say_error,
    say_line,
    say_metrics,
    say_result,
    say_videos,
    write_line,
)

if TYPE_CHECKING:
    from jobs.detect import DryRun
    from jobs.pipeline import PipelineResult

app = typer.Typer(
    name="fcos",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _fcos(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    """FCOS detection over whole datasets: verified Parquet out, COCO metrics scored."""
    if version:
        from importlib.metadata import version as version_of

        write_line(f"fcos-batch {version_of('fcos-batch')}")
    elif context.invoked_subcommand is None:
        write_line(context.get_help())


@app.command()
def detect(
    *,
    inputs: Inputs = None,
    out: RunOut = None,
    weights: Weights = None,
    image_root: ImageRoot = None,
    score_threshold: ScoreThreshold = None,
    precision: Precision = None,
    engine: Engine = None,
    batch_size: BatchSize = None,
    num_actors: NumActors = None,
    threads_per_actor: Threads = None,
    shard_size: ShardSize = None,
    max_bad: MaxBad = None,
    retry_quarantined: RetryQuarantined = None,
    every_n_frames: EveryNFrames = None,
    fps: Fps = None,
    stream: Stream = None,
    limit: Limit = None,
    dry_run: DryRun = None,
    config: ConfigFile = None,
    address: Address = None,
    allow_mixed_devices: MixedDevices = None,
    allow_unsafe_commit: UnsafeCommit = None,
) -> None:
    """Look at every image and frame once; again to resume.

    Gives a directory with a table of detections, proved complete.
    """
    flags = _given(locals())
    with exit_codes(resumable=True):
        from jobs.cli.config_file import load_settings
        from jobs.detect import DetectConfig, run

        result = run(load_settings(DetectConfig, config, flags))
        say_videos(result.summary())
        _end(result)


@app.command()
def verify(*, run: Run = None) -> None:
    """Prove that a run is complete.

    Otherwise names what is missing, double, damaged or foreign.
    """
    with exit_codes():
        from jobs.cli.config_file import load_settings
        from jobs.verify import VerifyConfig
        from jobs.verify import run as run_verify

        result = run_verify(load_settings(VerifyConfig, None, {"run": run}))
        for problem in result.proof.problems:
            say_line(problem)
        _end(result)


@app.command()
def evaluate(
    *,
    run: Run = None,
    annotations: Annotations = None,
    results: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="score this COCO results json instead of a run"),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="RUN_B", help="compare to another run over the same images"),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="write here, not to RUN/evaluation/metrics.json"),
    ] = None,
    allow_incomplete: Annotated[
        bool | None,
        typer.Option(
            "--allow-incomplete",
            help="missing images count as without detections",
            show_default=False,
        ),
    ] = None,
    resamples: Annotated[
        int | None,
        typer.Option(metavar="N", help="bootstrap intervals from so many resamples  [0]"),
    ] = None,
    num_actors: Annotated[
        str | None, typer.Option(metavar="N", help="processes; 1 needs no Ray  [auto]")
    ] = None,
    address: Address = None,
) -> None:
    """Score a run against COCO annotations.

    Gives the twelve numbers, over all classes and for each.
    """
    flags = _given(locals())
    with exit_codes():
        from jobs.cli.config_file import load_settings
        from jobs.evaluate import EvaluateConfig
        from jobs.evaluate import run as run_evaluate

        result = run_evaluate(load_settings(EvaluateConfig, None, flags))
        say_metrics(result)
        _end(result)


@app.command()
def bpr(
    *,
    annotations: Annotated[
        str | None,
        typer.Argument(metavar="ANNOTATIONS", help="COCO annotation file", show_default=False),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            "--rule",
            metavar="NAME",
            help="paper, paper-p4, improved, torchvision, retinanet-none, retinanet-0.4 or "
            "retinanet-all; several make one table  [paper, improved, torchvision]",
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run", metavar="RUN", help="count only this run's images, write to RUN/bpr/"
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="write here, and the lost boxes beside it"),
    ] = None,
    skip_invalid: Annotated[
        bool | None,
        typer.Option("--skip-invalid", help="leave out malformed entries", show_default=False),
    ] = None,
    strides: Annotated[
        str | None, typer.Option(metavar="S,S,...", help="of a custom rule: pixels per cell")
    ] = None,
    size_ranges: Annotated[
        str | None,
        typer.Option(
            metavar="LO:HI,...", help="of a custom rule: sides that each level answers for"
        ),
    ] = None,
    center_radius: Annotated[
        float | None,
        typer.Option(metavar="R", help="of a custom rule: centre sampling, in strides"),
    ] = None,
    min_size: Annotated[
        int | None, typer.Option(metavar="PX", help="of a custom rule: the input's shorter side")
    ] = None,
    max_size: Annotated[
        int | None, typer.Option(metavar="PX", help="of a custom rule: limit of its longer side")
    ] = None,
    boxes: Annotated[
        str | None,
        typer.Option(metavar="legacy|plain", help="of a custom rule: whether x + w - 1 or x + w"),
    ] = None,
    num_actors: Annotated[
        str | None, typer.Option(metavar="N", help="processes; 1 needs no Ray  [auto]")
    ] = None,
    config: ConfigFile = None,
    address: Address = None,
) -> None:
    """Measure the best possible recall of annotations.

    Tells which boxes FCOS or RetinaNet could learn at all, and why the others are lost.
    """
    flags = _given(locals())
    with exit_codes():
        from jobs.bpr import BprConfig
        from jobs.bpr import run as run_bpr
        from jobs.cli.config_file import load_settings

        if annotations is None and config is None:
            raise ConfigError("ANNOTATIONS is missing")
        if "rule" in flags:
            flags["rules"] = flags.pop("rule")
        result = run_bpr(load_settings(BprConfig, config, flags))
        say_bpr(result)
        _end(result)


@app.command("run")
def run_all(
    *,
    inputs: Inputs = None,
    annotations: Annotations = None,
    out: RunOut = None,
    weights: Weights = None,
    image_root: ImageRoot = None,
    score_threshold: ScoreThreshold = None,
    precision: Precision = None,
    engine: Engine = None,
    batch_size: BatchSize = None,
    num_actors: NumActors = None,
    threads_per_actor: Threads = None,
    shard_size: ShardSize = None,
    max_bad: MaxBad = None,
    retry_quarantined: RetryQuarantined = None,
    every_n_frames: EveryNFrames = None,
    fps: Fps = None,
    stream: Stream = None,
    limit: Limit = None,
    dry_run: DryRun = None,
    config: ConfigFile = None,
    address: Address = None,
    allow_mixed_devices: MixedDevices = None,
    allow_unsafe_commit: UnsafeCommit = None,
) -> None:
    """Do the whole job: detect, verify, evaluate, bpr, report.

    The same command again resumes.
    """
    flags = _given(locals())
    with exit_codes(resumable=True):
        from jobs.cli.config_file import load_settings
        from jobs.pipeline import PipelineConfig, run

        _end_pipeline(run(load_settings(PipelineConfig, config, flags)))


@app.command()
def demo(
    *,
    out: Annotated[
        str | None, typer.Option(metavar="RUN", help="directory of the run  [demo-run]")
    ] = None,
    num_images: Annotated[
        int | None, typer.Option(metavar="N", help="images to generate  [300]")
    ] = None,
    num_actors: NumActors = None,
) -> None:
    """Do the whole job on generated images and a video.

    The checkpoint comes with the package; nothing is downloaded.
    """
    flags = _given(locals())
    with exit_codes(resumable=True):
        from jobs.cli.config_file import load_settings
        from jobs.demo import DemoConfig, run

        _end_pipeline(run(load_settings(DemoConfig, None, flags)))


@app.command()
def render(
    *,
    run: Run = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="where the drawings go; local or s3://")
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(metavar="SCORE", help="draw detections from this on  [0.5]")
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--classes", metavar="NAME,ID,...", help="draw these only: names or ids  [all]"
        ),
    ] = None,
    between: Annotated[
        str | None,
        typer.Option(
            metavar="hold|none",
            help="on frames the run did not take, what the last one before shows, or nothing  "
            "[hold]",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", help="only the first N images and videos  [targets: 20]"),
    ] = None,
    image_root: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="where the sources lie now  [where they lay]"),
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="instead of a run, draw what encoding makes of COCO annotations"
        ),
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="of --targets: which location learns which box  [paper]"),
    ] = None,
    num_actors: Annotated[
        str | None, typer.Option(metavar="N", help="processes; 1 needs no Ray  [auto]")
    ] = None,
    address: Address = None,
) -> None:
    """Draw a run's detections on its images and videos.

    With --targets: what every location learns of annotated images, and which boxes are lost.
    """
    flags = _given(locals())
    with exit_codes():
        from jobs.cli.config_file import load_settings
        from jobs.render import RenderConfig
        from jobs.render import run as run_render

        _end(run_render(load_settings(RenderConfig, None, flags)))


@app.command()
def report(
    *,
    run: Run = None,
    annotations: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="COCO annotation file to choose images by  [what the run was scored against]",
        ),
    ] = None,
    image_root: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="where the images lie now  [where they lay]"),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="write here, not to RUN/report/index.html"),
    ] = None,
) -> None:
    """Write one HTML page about a run.

    How good it is, on what, where it fails and how fast it was; a single file that loads nothing.
    """
    flags = _given(locals())
    with exit_codes():
        from jobs.cli.config_file import load_settings
        from jobs.report import ReportConfig
        from jobs.report import run as run_report

        _end(run_report(load_settings(ReportConfig, None, flags)))


@app.command()
def train(
    *,
    images: Annotated[str | None, typer.Option(metavar="DIR", help="folder of the images")] = None,
    annotations: Annotated[
        str | None, typer.Option(metavar="FILE", help="COCO annotation file")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="where checkpoint and metrics go")
    ] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="optimizer steps")] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", help="images per step, over all workers")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="of weights and order")] = None,
    weights: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="start from coco, demo, or a path or uri  [random]"),
    ] = None,
    num_workers: Annotated[
        str | None,
        typer.Option(metavar="N", help="share each batch; auto is one per GPU  [auto]"),
    ] = None,
    config: ConfigFile = None,
    address: Address = None,
) -> None:
    """Train on COCO-format data; again to resume.

    The model and the optimizer are set in the config file.
    """
    flags = _given(locals())
    with exit_codes(resumable=True):
        from jobs.cli.config_file import load_settings
        from jobs.train import TrainConfig, run

        _end(run(load_settings(TrainConfig, config, flags)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows ``fcos``; by default those of this process.

    Returns:
        The exit code: 0 done, 1 a bug, 2 cannot work, 3 incomplete, 130 interrupted.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("jobs").setLevel(logging.INFO)
    try:
        code = app(arguments, prog_name="fcos", standalone_mode=False)
    except TyperException as error:
        say_error(error.format_message())
        return EXIT_CANNOT_WORK
    return code if isinstance(code, int) else EXIT_DONE


def _given(arguments: dict[str, Any]) -> dict[str, Any]:
    """Leave out what was not given, and the config file itself."""
    return {
        name: value
        for name, value in arguments.items()
        if name != "config" and value is not None and value != []
    }


def _end(result: JobResult) -> NoReturn:
    raise typer.Exit(say_result(result))


def _end_pipeline(result: PipelineResult | DryRun) -> NoReturn:
    say_videos(result.summary())
    evaluation, recall = getattr(result, "evaluation", None), getattr(result, "recall", None)
    if evaluation is not None:
        say_metrics(evaluation)
    if recall is not None:
        say_bpr(recall)
    _end(result)


if __name__ == "__main__":
    sys.exit(main())
