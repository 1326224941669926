"""Which annotated image each image and frame of a run is, and whether categories mean the same.

Images: by image id when the run's input was this very annotation file; otherwise an entry's
``file_name`` must be the end of the image's uri, in whole path components. Frames: by ``video``,
likewise, and ``frame_index`` (``frame_joining``). What the run looked at decides what is scored:
each must have exactly one entry. Entries that the run did not look at are only counted, as with
``--limit``; so are a run's videos where the file has images only, and the other way round.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportAttributeAccessIssue=false
# pyarrow has no types, and makes its compute functions while it is imported

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fcos_core.errors import ConfigError
from jobs.annotations.coco_json import CocoAnnotations, CocoImage
from jobs.annotations.join_frames import FrameJoin, join_frames
from jobs.annotations.json_columns import Int64Array
from jobs.annotations.name_matching import (
    MAX_EXAMPLES,
    Examples,
    explain_matches,
    in_nfc,
    match_suffixes,
    suffix_of,
)
from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import table_to_items
from jobs.storage import local_path

UNUSED_CATEGORY = "N/A"
"""What run.json calls the ids that a head has an output for and nobody a name."""


@dataclass(frozen=True)
class Join:
    """Images of a run and the annotated images they are, in manifest order; both ids are unique.

    ``num_not_in_run`` counts the annotated images that the run did not look at.
    """

    image_ids: Int64Array
    annotated_ids: Int64Array
    by: Literal["image_id", "file_name"]
    num_not_in_run: int


@dataclass(frozen=True)
class RunJoin:
    """All of a run, images and frames of videos apart, each in manifest order.

    ``image_shards`` has the shard of each image, never falling. ``num_images_left`` counts the
    run's images where the file is about frames only, ``num_frames_left`` its frames where it is
    about images only.
    """

    images: Join
    image_shards: Int64Array
    frames: FrameJoin
    num_images_left: int
    num_frames_left: int


def join_run(
    run: RunDirectory, annotations: CocoAnnotations, *, input_annotations: str | None
) -> RunJoin:
    """Find the annotated image of every image and frame of a run.

    ``input_annotations`` is the uri of the COCO file that was the run's input, if it was one. A
    ``ConfigError`` says what has no entry, or could have several.
    """
    manifest = run.manifest().read_table()
    return join_items(manifest, annotations, input_annotations=input_annotations)


def join_items(
    manifest: pa.Table, annotations: CocoAnnotations, *, input_annotations: str | None
) -> RunJoin:
    """Do what ``join_run`` does, for a ``MANIFEST`` table that is not written yet."""
    entries = annotations.frames
    assert entries is not None
    is_named = np.array([bool(name) for name in annotations.file_names or ()], np.bool_)
    is_image = pc.equal(manifest.column("kind"), "image")
    stills, segments = manifest.filter(is_image), manifest.filter(pc.invert(is_image))
    num_images_left = num_frames_left = 0
    if len(entries) and not is_named.any():
        num_images_left, stills = stills.num_rows, stills.slice(0, 0)
    elif is_named.any() and not len(entries):
        num_frames_left = pc.sum(segments.column("num_frames")).as_py() or 0
        segments = segments.slice(0, 0)
    images = join_annotations(
        stills.column("image_id").to_pylist(),
        stills.column("uri").to_pylist(),
        annotations,
        input_annotations=input_annotations,
    )
    frames = join_frames(
        table_to_items(segments), annotations.uri, entries, taken=images.annotated_ids
    )
    named = annotations.image_ids[is_named]
    # Of what is both, frames of the run's videos are counted with these.
    is_left = ~np.isin(named, np.concatenate([images.annotated_ids, frames.annotated_ids]))
    is_left &= ~np.isin(named, entries.ids[frames.is_of_run])
    return RunJoin(
        images=replace(images, num_not_in_run=int(is_left.sum())),
        image_shards=stills.column("shard").to_numpy().astype(np.int64),
        frames=frames,
        num_images_left=num_images_left,
        num_frames_left=num_frames_left,
    )


def join_annotations(
    image_ids: Sequence[int],
    uris: Sequence[str],
    annotations: CocoAnnotations,
    *,
    input_annotations: str | None,
) -> Join:
    """Find the annotated image of every image of a run, as ``join_run`` does."""
    if input_annotations == annotations.uri:
        _require_same_images(image_ids, uris, annotations)
        annotated_ids, by = list(image_ids), "image_id"
    else:
        annotated_ids, by = _join_by_file_name(uris, annotations), "file_name"
    return Join(
        image_ids=np.array(image_ids, np.int64),
        annotated_ids=np.array(annotated_ids, np.int64),
        by=by,
        num_not_in_run=len(annotations.images) - len(annotated_ids),
    )


def require_same_categories(
    run_categories: Mapping[int, str], annotations: CocoAnnotations
) -> None:
    """Refuse annotations whose category ids mean something else than in the run's ``run.json``.

    Raises:
        ConfigError: no id is in both, or one has two names.
    """
    ours = {id_: name for id_, name in run_categories.items() if name != UNUSED_CATEGORY}
    theirs = {category.id: category.name for category in annotations.categories}
    shared = ours.keys() & theirs.keys()
    if not shared:
        raise ConfigError(
            f"{annotations.uri}: none of its category ids is the run's; it has {_some(theirs)}, "
            f"the run has {_some(ours)}"
        )
    differing = {
        id_: f"{id_} is {ours[id_]!r} in the run and {theirs[id_]!r} here"
        for id_ in sorted(shared)
        if _plain(ours[id_]) != _plain(theirs[id_])
    }
    if differing:
        raise ConfigError(
            f"{annotations.uri}: {len(differing)} of {len(shared)} category ids have another name "
            f"than in the run, {Examples.of(list(differing.values()))}"
        )


def _require_same_images(
    image_ids: Sequence[int], uris: Sequence[str], annotations: CocoAnnotations
) -> None:
    names = {image.id: _last_part(image.file_name) for image in annotations.images}
    changed = [
        f"{image_id} ({uri!r})"
        for image_id, uri in zip(image_ids, uris, strict=True)
        if names.get(image_id) != _last_part(local_path(uri))
    ]
    if changed:
        raise ConfigError(
            f"{annotations.uri}: changed since the run read it: {len(changed)} of {len(uris)} "
            f"image ids of the run are gone or name another file, {Examples.of(changed)}"
        )


def _last_part(path: str) -> str:
    return in_nfc(posixpath.basename(path))


def _join_by_file_name(uris: Sequence[str], annotations: CocoAnnotations) -> list[int]:
    entries: defaultdict[str, list[CocoImage]] = defaultdict(list)
    for image in annotations.images:
        entries[suffix_of(image.file_name)].append(image)
    matches = match_suffixes(uris, {suffix: len(own) for suffix, own in entries.items()})
    if matches.unmatched or matches.ambiguous:
        names = (image.file_name for image in annotations.images)
        whole = f"{len(uris)} images"
        raise ConfigError(explain_matches(annotations.uri, whole, "file_name", matches, names))
    return [entries[suffix][0].id for suffix in matches.suffixes]


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def _some(names: Mapping[int, str]) -> str:
    shown = [f"{id_} {name!r}" for id_, name in sorted(names.items())[:MAX_EXAMPLES]]
    return ", ".join(shown) or "none"
