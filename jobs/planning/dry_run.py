"""``--dry-run``: say what a command would do, and write nothing."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# pyarrow has no types

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from jobs.parallel.resources import Resources, probe
from jobs.planning.begin import (
    OpenRun,
    RunPlan,
    choose_shards,
    plan_run,
    reopen_run,
    require_free,
    require_no_retry,
    require_same_fields,
    require_same_place,
)
from jobs.planning.defaults import explicit_fields, resolve_num_actors
from jobs.planning.extend import planned_extension
from jobs.planning.model_card import ModelCard, require_loadable
from jobs.rundir.directory import RunDirectory
from jobs.rundir.manifest.index import Growth
from jobs.rundir.manifest.shard_table import ShardTable
from jobs.rundir.retries import plan_retry
from jobs.settings.detect import DetectConfig
from jobs.storage import absolute


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a command would do.

    ``num_shards_done`` files exist already, and ``skipped`` files were passed over when the inputs
    were listed. ``growth`` is what ``--extend`` would add; the other numbers count it. ``sizes``
    counts the items by size, the most frequent size first. ``fields`` are
    the settings that decide the rows; ``engine_reason`` says why a new run gets its engine.
    """

    run: str
    num_items: int
    num_shards: int
    num_shards_done: int
    num_items_to_retry: int
    skipped: int
    sizes: dict[str, int]
    num_actors: int
    device: str
    fields: Mapping[str, Any]
    engine_reason: str | None
    growth: Growth | None
    failure: None = None

    def summary(self) -> dict[str, Any]:
        """The command's last line on stdout."""
        return {
            "dry_run": True,
            "run": self.run,
            "items_planned": self.num_items,
            "shards": self.num_shards,
            "shards_done": self.num_shards_done,
            "items_to_retry": self.num_items_to_retry,
            "skipped": self.skipped,
            "sizes": self.sizes,
            **({} if self.growth is None else self.growth.summary()),
            "num_actors": self.num_actors,
            "device": self.device,
            **({} if self.engine_reason is None else {"engine_reason": self.engine_reason}),
            **self.fields,
        }


def dry_run(config: DetectConfig, model: ModelCard, check: Callable[[RunPlan], None]) -> DryRun:
    """Plan a new run, or what is left of the run that exists.

    ``check`` gets the plan of a new run and raises what speaks against it.
    """
    directory = RunDirectory(config.out)
    return (
        _rest_of_run(config, directory, model)
        if directory.exists()
        else _new_run(config, directory, model, check)
    )


def _new_run(
    config: DetectConfig,
    directory: RunDirectory,
    model: ModelCard,
    check: Callable[[RunPlan], None],
) -> DryRun:
    require_no_retry(config)
    require_loadable(model)
    resources = cache(lambda: probe(config.address))
    plan = plan_run(config, model, resources)
    check(plan)
    require_free(directory)
    with plan.planned as planned:
        choose_shards(config, planned.shards)
        return _planned(
            config,
            resources(),
            plan,
            sizes=planned.sizes,
            num_items=planned.num_items,
            num_shards=len(planned.shards),
        )


def _rest_of_run(config: DetectConfig, directory: RunDirectory, model: ModelCard) -> DryRun:
    run = reopen_run(directory)
    require_same_fields(run, {**explicit_fields(config), "weights_sha256": model.sha256})
    resources, num_shards_done = probe(config.address), int(run.is_committed(run.shards()).sum())
    if num_shards_done < len(run.shards()) or config.retry_quarantined or config.extend:
        require_same_place(
            run,
            resources,
            allow_mixed_devices=config.allow_mixed_devices,
            allow_version_change=config.allow_version_change,
        )
    sizes = Counter[str]()
    for _, items in run.manifest.iterate_tables():
        sides = (items.column(name).to_pylist() for name in ("width", "height"))
        sizes.update("unknown" if w is None else f"{w}x{h}" for w, h in zip(*sides, strict=True))
    added = _Added() if not config.extend else _added(run, config)
    sizes.update(added.sizes)
    shards = ShardTable.concat([run.shards(), added.shards])
    choose_shards(config, shards)
    numbers = config.shard_numbers()
    retry = plan_retry(directory, numbers=numbers) if config.retry_quarantined else None
    return _planned(
        config,
        resources,
        run,
        sizes=sizes,
        num_items=shards.total_items,
        num_shards=len(shards),
        num_shards_done=num_shards_done,
        num_items_to_retry=retry.num_items if retry else 0,
        skipped=added.skipped,
        growth=added.growth,
    )


@dataclass(frozen=True, kw_only=True)
class _Added:
    """What an extension would add; nothing where none is asked for."""

    growth: Growth | None = None
    sizes: Counter[str] = field(default_factory=Counter[str])
    shards: ShardTable = field(default_factory=ShardTable.empty)
    skipped: int | None = None


def _added(run: OpenRun, config: DetectConfig) -> _Added:
    with planned_extension(run, run.manifest, config) as plan:
        if plan.items is None:
            return _Added(growth=plan.growth, skipped=plan.skipped)
        return _Added(
            growth=plan.growth,
            sizes=plan.items.sizes,
            shards=plan.items.shards,
            skipped=plan.skipped,
        )


def _planned(
    config: DetectConfig,
    resources: Resources,
    run: RunPlan | OpenRun,
    *,
    sizes: Counter[str],
    num_items: int,
    num_shards: int,
    num_shards_done: int = 0,
    num_items_to_retry: int = 0,
    skipped: int | None = None,
    growth: Growth | None = None,
) -> DryRun:
    threads = run.fields["threads_per_actor"]
    return DryRun(
        run=absolute(config.out),
        num_items=num_items,
        num_shards=num_shards,
        num_shards_done=num_shards_done,
        num_items_to_retry=num_items_to_retry,
        skipped=run.skipped if skipped is None else skipped,
        sizes=dict(sizes.most_common()),
        num_actors=resolve_num_actors(config.num_actors, resources, threads),
        device=resources.device,
        fields=run.fields,
        engine_reason=run.engine_reason if isinstance(run, RunPlan) else None,
        growth=growth,
    )
