"""A finished run, made as ``fcos detect`` makes it but in this process: with retries, no Ray."""

from pathlib import Path

from jobs.parallel.resources import probe
from jobs.planning.begin import begin_run, plan_run, reopen_run
from jobs.planning.model_card import read_model_card
from jobs.planning.run_json import write_run_json
from jobs.rundir.directory import RunDirectory
from jobs.rundir.retries import plan_retry
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
    model, directory = read_model_card(config.weights), RunDirectory(config.out)
    begin_run(directory, plan_run(config, model, lambda: probe(None)))
    opened = reopen_run(directory)
    write_run_json(opened, config, model)
    shards, attempt = opened.shards(), None
    for _ in range(2):
        settings = worker_settings(
            directory,
            resolve_weights(config.weights).path,
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
        retry = plan_retry(directory)
        shards, attempt = list(retry.shards), retry.number
