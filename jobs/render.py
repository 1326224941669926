"""Draw a run's detections on its images and videos; or what ground-truth encoding makes of boxes.

Boxes, classes and scores come from the run's tables. The images and videos are read again; one that
is missing, or has changed since the run, is counted and not drawn.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from fcos_core.errors import ConfigError
from jobs.parallel.signals import terminate_as_interrupt
from jobs.rendering.images import Style
from jobs.rendering.run import RenderRequest, RenderResult, draw_run
from jobs.rundir.directory import RunDirectory
from jobs.rundir.record import Category
from jobs.settings.render import RenderConfig
from jobs.storage import absolute, storage_for

if TYPE_CHECKING:
    from jobs.rendering.targets.run import TargetsResult

_TARGETS_LIMIT = 20


def run(config: RenderConfig) -> RenderResult | TargetsResult:
    """Draw a run, or the encoding of an annotation file.

    Args:
        config: what to draw.

    Raises:
        ConfigError: ``out`` is a file.
    """
    out = absolute(config.out)
    if storage_for(out).stat(out) is not None:
        raise ConfigError(f"--out {out!r} is a file, must be a folder")
    with terminate_as_interrupt():
        if config.targets is not None:
            from jobs.rendering.targets.run import draw_targets  # torch, for nothing else

            return draw_targets(
                config.targets,
                rule_name=config.rule,
                out=out,
                image_root=config.image_root,
                limit=config.limit or _TARGETS_LIMIT,
            )
        assert config.run is not None
        directory = RunDirectory(config.run)
        categories = directory.read_run_record().categories
        return draw_run(
            RenderRequest(
                directory=directory,
                out=out,
                style=Style(
                    min_score=config.min_score,
                    category_ids=_category_ids(config.classes, categories),
                    names={category.id: category.name for category in categories},
                    image_root=config.image_root,
                ),
                between=config.between,
                limit=config.limit,
                num_workers=None if config.num_actors == "auto" else config.num_actors,
                address=config.address,
            )
        )


def _category_ids(
    wanted: tuple[str, ...], categories: tuple[Category, ...]
) -> frozenset[int] | None:
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
