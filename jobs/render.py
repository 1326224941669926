"""Draw a run's detections on its images and videos; or what ground-truth encoding makes of boxes.

Names, classes and scores are those of the run's tables; the sources are read again, and one that is
missing or has changed since is counted, not drawn.
"""

from __future__ import annotations

from difflib import get_close_matches

from fcos_core.errors import ConfigError
from jobs.parallel.signals import terminate_as_interrupt
from jobs.rendering.run import RunDrawings, RunOrder, draw_run
from jobs.rendering.targets.run import TargetsResult, draw_targets
from jobs.rundir.directory import Category, RunDirectory
from jobs.settings.render import RenderConfig
from jobs.storage import absolute

_TARGETS_LIMIT = 20


def run(config: RenderConfig) -> RunDrawings | TargetsResult:
    """Draw.

    Args:
        config: what to draw.

    Returns:
        What was drawn, and what could not be.
    """
    with terminate_as_interrupt():
        if config.targets is not None:
            return draw_targets(
                config.targets,
                rule_name=config.rule,
                out=config.out,
                image_root=config.image_root,
                limit=config.limit or _TARGETS_LIMIT,
            )
        assert config.run is not None
        directory = RunDirectory(config.run)
        categories = directory.read_run_record().categories
        return draw_run(
            RunOrder(
                directory=directory,
                out=absolute(config.out),
                names={category.id: category.name for category in categories},
                min_score=config.min_score,
                category_ids=_category_ids(config.classes, categories),
                between=config.between,
                image_root=config.image_root,
                limit=config.limit,
                num_workers=None if config.num_actors == "auto" else config.num_actors,
                address=config.address,
            )
        )


def _category_ids(
    wanted: tuple[str, ...], categories: tuple[Category, ...]
) -> frozenset[int] | None:
    """Find the ids of categories that somebody names; None when nobody does.

    Raises:
        ConfigError: there is no such category.
    """
    if not wanted:
        return None
    by_name = {category.name.casefold(): category.id for category in categories}
    by_id = {str(category.id): category.id for category in categories}
    parts = [
        part.strip()
        for text in wanted
        for part in ([text] if text.casefold() in by_name else text.split(","))
    ]
    found: set[int] = set()
    for part in parts:
        id_ = by_name.get(part.casefold(), by_id.get(part))
        if id_ is None:
            near = get_close_matches(part.casefold(), by_name, n=1, cutoff=0.0)
            names = {category.name.casefold(): category.name for category in categories}
            hint = f"; the nearest is {names[near[0]]!r}" if near else ""
            raise ConfigError(f"--classes {part!r}: the run has no such class{hint}")
        found.add(id_)
    return frozenset(found)
