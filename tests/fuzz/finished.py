"""A finished run, made as ``fcos detect`` makes it but in this process: with retries, no Ray."""

from pathlib import Path

from jobs.planning.begin import begin, draw_up, reopen
from jobs.planning.run_json import record
from jobs.rundir.directory import RunDirectory
from jobs.rundir.retries import plan_attempt
from jobs.settings.detect import DetectConfig
from jobs.storage.weights import resolve_weights
from jobs.worker.worker import Worker
from tests.jobs.worker.runs import worker_settings


def finish(config: DetectConfig, repair: Path | None = None, source: Path | None = None) -> None:
    """Do a run.

    Args:
        config: settings of the run.
        repair: an image that is replaced once the run is done, and tried again.
        source: the file that replaces it.
    """
    weights, directory = resolve_weights(config.weights), RunDirectory(config.out)
    begin(directory, draw_up(config, weights))
    opened = reopen(directory)
    record(opened, config, weights)
    shards, attempt = opened.shards(), None
    for _ in range(2):
        settings = worker_settings(
            directory,
            weights.path,
            run_id=opened.run_id,
            batch_size=opened.fields["batch_size"],
            threads=opened.fields["threads_per_actor"],
            max_pixels=opened.fields["max_pixels"],
            attempt=attempt,
        )
        worker = Worker(settings)
        for shard in shards:
            worker.process(shard)
        worker.close()
        if repair is None or source is None:
            return
        repair.write_bytes(source.read_bytes())
        again = plan_attempt(directory)
        shards, attempt = list(again.shards), again.number
