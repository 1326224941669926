"""The ``fcos`` command: parse, build the command's settings, run the job, return the exit code.

Jobs are imported inside their commands, and a settings class only where its command is named, so
that ``fcos --help`` does not wait for torch, Ray and the other commands.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from inspect import Signature, getdoc
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.exceptions import TyperException

import jobs
from jobs.cli.output import (
    EXIT_CANNOT_WORK,
    EXIT_DONE,
    JobResult,
    LogLines,
    exit_codes,
    write_error,
    write_lost_output,
    write_result,
    write_stderr,
    write_stdout,
    write_warning,
)
from jobs.cli.raw_words import restart_in_utf8
from jobs.cli.streams import open_standard_streams
from jobs.parallel.address_space import require_for_model
from jobs.parallel.guard import done, guarded

if TYPE_CHECKING:
    from jobs.settings.base import JobSettings
    from jobs.settings.bpr import BprConfig
    from jobs.settings.demo import DemoConfig
    from jobs.settings.detect import DetectConfig
    from jobs.settings.evaluate import EvaluateConfig
    from jobs.settings.pipeline import PipelineConfig
    from jobs.settings.render import RenderConfig
    from jobs.settings.report import ReportConfig
    from jobs.settings.train import TrainConfig
    from jobs.settings.verify import VerifyConfig

Job = Callable[[Any], JobResult]


@dataclass(frozen=True)
class Command:
    """A command of ``fcos``.

    Attributes:
        name: word after ``fcos``.
        job: function that runs the job and shows its result; its docstring is the help text.
        settings: module and class of the settings.
        has_config_file: whether ``--config FILE`` may fill the settings.
        is_resumable: whether the same command resumes after an interruption.
        may_use_ray: whether the job may start Ray or join a cluster.
    """

    name: str
    job: Job
    settings: str
    has_config_file: bool
    is_resumable: bool
    may_use_ray: bool

    def settings_class(self) -> type[JobSettings]:
        module, _, name = self.settings.partition(":")
        return getattr(import_module(module), name)

    def signature(self) -> Signature:
        from jobs.cli.options import signature_of

        return signature_of(self.settings_class(), has_config_file=self.has_config_file)

    def run(self, options: dict[str, Any], *, is_own_process: bool) -> None:
        """Run the job with these options, under a guard if it may use Ray; exit with its code."""
        with exit_codes(is_resumable=self.is_resumable):
            if self.is_resumable:  # all of these load a model
                require_for_model()
            if not self.may_use_ray:
                code = self._run_here(options, is_own_process=is_own_process)
            elif is_own_process:
                code = guarded(partial(self._run_with_ray, options, is_own_process=True))
            else:
                code = self._run_with_ray(options, is_own_process=False)
            raise typer.Exit(code)

    def _result(self, options: dict[str, Any], *, is_own_process: bool) -> JobResult:
        from jobs.cli.config_file import load_settings
        from jobs.cli.options import CONFIG_FILE

        if is_own_process:  # a caller of ``main`` may want pandas
            from jobs.storage.without_pandas import keep_pandas_out

            keep_pandas_out()
        file = options.pop(CONFIG_FILE, None)
        return self.job(load_settings(self.settings_class(), file, options))

    def _run_here(self, options: dict[str, Any], *, is_own_process: bool) -> int:
        return write_result(self._result(options, is_own_process=is_own_process))

    def _run_with_ray(self, options: dict[str, Any], *, is_own_process: bool) -> int:
        from jobs.parallel.ray_session import ray_kept_open

        stdout, code = sys.stdout, None
        try:
            with ray_kept_open():
                result = self._result(options, is_own_process=is_own_process)
                with redirect_stdout(stdout):  # where Ray, as long as it is open, may not write
                    code = write_result(result)
                done(code)
        except KeyboardInterrupt:
            if code is None:
                raise
            # The work is done and said; only Ray's own end was cut short.
        return code


COMMANDS: list[Command] = []


def _command(
    name: str,
    settings: str,
    *,
    has_config_file: bool = False,
    is_resumable: bool = False,
    may_use_ray: bool = True,
) -> Callable[[Job], Job]:
    def register(job: Job) -> Job:
        COMMANDS.append(Command(name, job, settings, has_config_file, is_resumable, may_use_ray))
        return job

    return register


@_command("detect", "jobs.settings.detect:DetectConfig", has_config_file=True, is_resumable=True)
def _detect(config: DetectConfig) -> JobResult:
    """Detect objects in every image and video frame.

    Writes a directory with a table of detections that is proved complete. The same command again
    resumes.
    """
    from jobs.cli.tables import show_videos
    from jobs.detect import run

    result = run(config)
    show_videos(result.summary())
    return result


@_command("verify", "jobs.settings.verify:VerifyConfig")
def _verify(config: VerifyConfig) -> JobResult:
    """Prove that a run is complete.

    Otherwise names what is missing, duplicated, damaged or foreign.
    """
    from jobs.verify import run

    result = run(config)
    for problem in result.proof.problems:
        write_stderr(problem)
    return result


@_command("evaluate", "jobs.settings.evaluate:EvaluateConfig")
def _evaluate(config: EvaluateConfig) -> JobResult:
    """Score a run against COCO annotations.

    Computes the twelve COCO metrics, over all classes and for each class.
    """
    from jobs.cli.tables import show_metrics
    from jobs.evaluate import run

    result = run(config)
    show_metrics(result)
    return result


@_command("bpr", "jobs.settings.bpr:BprConfig", has_config_file=True)
def _bpr(config: BprConfig) -> JobResult:
    """Measure the best possible recall of annotations.

    Shows which boxes FCOS or RetinaNet could learn at all, and why the others are lost.
    """
    from jobs.bpr import run
    from jobs.cli.tables import show_recall

    result = run(config)
    show_recall(result)
    return result


@_command("run", "jobs.settings.pipeline:PipelineConfig", has_config_file=True, is_resumable=True)
def _run(config: PipelineConfig) -> JobResult:
    """Do the whole job: detect, verify, evaluate, bpr, report.

    The same command again resumes.
    """
    from jobs.pipeline import run

    return _shown(run(config))


@_command("demo", "jobs.settings.demo:DemoConfig", is_resumable=True)
def _demo(config: DemoConfig) -> JobResult:
    """Do the whole job on generated images and a video.

    The checkpoint is part of the package; nothing is downloaded.
    """
    from jobs.demo import run

    return _shown(run(config))


@_command("render", "jobs.settings.render:RenderConfig")
def _render(config: RenderConfig) -> JobResult:
    """Draw a run's detections on its images and videos.

    With --targets: draw what every location learns from annotated images, and the lost boxes.
    """
    from jobs.render import run

    return run(config)


@_command("report", "jobs.settings.report:ReportConfig", may_use_ray=False)
def _report(config: ReportConfig) -> JobResult:
    """Write one HTML page about a run.

    Shows how good the detections are, where they fail, and how fast the run was. The page is a
    single file that loads nothing from elsewhere.
    """
    from jobs.report import run

    return run(config)


@_command("train", "jobs.settings.train:TrainConfig", has_config_file=True, is_resumable=True)
def _train(config: TrainConfig) -> JobResult:
    """Train on data in COCO format.

    The config file sets the model and the optimizer. The same command again resumes.
    """
    from jobs.train import run

    return run(config)


def _shown(result: JobResult) -> JobResult:
    """Show what the steps of a pipeline found; a step that was not taken shows nothing."""
    from jobs.cli.tables import show_metrics, show_recall, show_videos

    show_videos(result.summary())
    evaluation, recall = getattr(result, "evaluation", None), getattr(result, "recall", None)
    if evaluation is not None:
        show_metrics(evaluation)
    if recall is not None:
        show_recall(recall)
    return result


def _fcos(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    """FCOS detection over whole datasets: verified Parquet tables, COCO metrics."""
    if version:
        write_stdout(f"fcos-batch {jobs.__version__}")
    elif context.invoked_subcommand is None:
        write_stdout(context.get_help())


def _application(words: Sequence[str], *, is_own_process: bool) -> typer.Typer:
    """Make the application; only commands that the words name get their options."""
    application = typer.Typer(
        name="fcos",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    application.callback(invoke_without_command=True)(_fcos)
    for command in COMMANDS:
        signature = command.signature() if command.name in words else Signature()
        run = partial(command.run, is_own_process=is_own_process)
        application.command(command.name, help=getdoc(command.job))(_callback(run, signature))
    return application


def _callback(run: Callable[[dict[str, Any]], None], signature: Signature) -> Callable[..., None]:
    def callback(**options: Any) -> None:  # noqa: ANN401 - text, flags and lists
        run(options)

    callback.__signature__ = signature
    return callback


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: words after ``fcos``; by default those of this process, which then does nothing
            else: its standard streams are made to last, and a command that may use Ray runs in a
            child of it.

    Returns:
        The exit code: 0 done, 1 a bug, 2 cannot work, 3 incomplete, 130 interrupted.
    """
    if arguments is None:
        restart_in_utf8()
        open_standard_streams()
        warnings.showwarning = write_warning
    logging.basicConfig(level=logging.WARNING, handlers=[LogLines()])
    logging.getLogger("jobs").setLevel(logging.INFO)
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        application = _application(words, is_own_process=arguments is None)
        code = application(words, prog_name="fcos", standalone_mode=False)
    except TyperException as error:
        write_error(_explain(error))
        code = EXIT_CANNOT_WORK
    write_lost_output()
    return code if isinstance(code, int) else EXIT_DONE


def _explain(error: TyperException) -> str:
    """Return the message; for a setting of the config file, say that it belongs there."""
    from jobs.settings.base import mark_of

    name = getattr(error, "option_name", "").lstrip("-").replace("-", "_")
    context = getattr(error, "ctx", None)
    for command in COMMANDS:
        if context is None or context.info_name != command.name or not command.has_config_file:
            continue
        field = command.settings_class().model_fields.get(name)
        if field is not None and mark_of(field) is None:
            return f"{error.message}; set {name} in the file of --config"
    return error.format_message()
