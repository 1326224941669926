"""Begins a run, or finds the one that is there: the manifest is created once and decides."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# pyarrow has no types

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from fcos_core.errors import ConfigError
from jobs.inputs.sources import enumerate_inputs
from jobs.inputs.video_index import SEGMENT_ROWS, VideoRequest, plan_videos
from jobs.parallel.resources import Resources, probe
from jobs.planning.defaults import DEVICE_MODEL, Fields, resolve
from jobs.planning.manifest import make_manifest
from jobs.planning.model_card import read_model_card
from jobs.rundir.directory import RunDirectory
from jobs.rundir.fingerprint import explain_difference, fingerprint
from jobs.rundir.rows import ManifestItem, items_to_table
from jobs.rundir.shard import Shard
from jobs.settings.detect import DetectConfig
from jobs.storage import storage_for
from jobs.storage.weights import ResolvedWeights

_OURS = {"manifest.parquet", "run.json", "detections", "retries", "evaluation", "events"}
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A run that is not begun yet.

    Attributes:
        items: the manifest.
        fields: what its fingerprint will be made of.
        skipped: files that were passed over when the inputs were listed.
        annotations: uri of the one COCO file that the input is, otherwise None.
        resources: what there is to compute with.
    """

    items: Sequence[ManifestItem]
    fields: Fields
    skipped: int
    annotations: str | None
    resources: Resources


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """A run whose manifest is written.

    Attributes:
        directory: where.
        run_id: what its shards' footers say.
        fingerprint: of the fields.
        fields: all that decides its rows.
        skipped: files that were passed over when the inputs were listed.
        annotations: uri of the one COCO file that the input was, otherwise None.
    """

    directory: RunDirectory
    run_id: str
    fingerprint: str
    fields: Fields
    skipped: int
    annotations: str | None

    def shards(self) -> list[Shard]:
        """All shards of the manifest."""
        return [Shard(number, tuple(items)) for number, items in self.directory.iterate_manifest()]

    def committed(self) -> set[int]:
        """The numbers of the shards whose file is there."""
        return {number for number, _ in self.directory.list_shards().shards}


def draw_up(config: DetectConfig, weights: ResolvedWeights) -> Draft:
    """List the inputs and decide everything that was left open, writing nothing."""
    listing = enumerate_inputs(config.inputs, image_root=config.image_root, limit=config.limit)
    videos = plan_videos(
        [item.uri for item in listing.items if item.is_video],
        VideoRequest(
            stream=config.stream,
            sampling=config.sampling(),
            rows_per_segment=min(SEGMENT_ROWS, config.shard_size or SEGMENT_ROWS),
        ),
        address=config.address,
    )
    card = read_model_card(weights)
    resources = probe(config.address)
    fields = resolve(
        config,
        listing=listing,
        videos=videos,
        resources=resources,
        weights_sha256=weights.sha256,
        preset=card.preset,
    )
    return Draft(
        items=make_manifest(listing, fields["shard_size"], videos),
        fields=fields,
        skipped=listing.skipped,
        annotations=listing.annotations,
        resources=resources,
    )


def begin(directory: RunDirectory, draft: Draft) -> None:
    """Write the manifest of a new run; when another driver was faster, its manifest stays."""
    check_is_free(directory)
    directory.create_manifest(
        items_to_table(draft.items),
        {
            "run_id": uuid.uuid4().hex,
            "fingerprint": fingerprint(draft.fields),
            "fingerprint_fields": json.dumps(draft.fields),
            "skipped": str(draft.skipped),
            "annotations": json.dumps(draft.annotations),
        },
    )


def reopen(directory: RunDirectory) -> OpenRun:
    """Read what a run was begun with.

    Raises:
        ConfigError: its manifest does not say.
    """
    metadata = directory.read_manifest_metadata()
    try:
        return OpenRun(
            directory=directory,
            run_id=metadata["run_id"],
            fingerprint=metadata["fingerprint"],
            fields=json.loads(metadata["fingerprint_fields"]),
            skipped=int(metadata["skipped"]),
            annotations=json.loads(metadata["annotations"]),
        )
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"{directory.manifest_uri!r} was not written by fcos detect: {error!r}"
        ) from error


def check_same(opened: OpenRun, fields: Fields, *, allow_mixed_devices: bool = False) -> None:
    """Refuse to go on with another plan, model or device.

    Args:
        opened: the run that is there.
        fields: what is known of this invocation's; the others are the run's.
        allow_mixed_devices: let the device be of another model.

    Raises:
        ConfigError: what differs.
    """
    now = {**opened.fields, **fields}
    if allow_mixed_devices:
        now[DEVICE_MODEL] = opened.fields[DEVICE_MODEL]
    difference = explain_difference(opened.fields, now)
    if difference:
        raise ConfigError(
            f"{opened.directory.uri!r} holds another run: {difference}; "
            "give the same settings, or another --out"
        )


def check_is_free(directory: RunDirectory) -> None:
    """Keep a new run from being mixed with what somebody else put there.

    Raises:
        ConfigError: the directory has other files in it, or is none.
    """
    if storage_for(directory.uri).stat(directory.uri) is not None:
        raise ConfigError(f"--out {directory.uri!r} is a file, must be a folder")
    start = len(directory.uri.rstrip("/")) + 1
    files = storage_for(directory.uri).list(directory.uri)
    names = (info.uri[start:].split("/")[0] for info in files)
    others = list(islice((name for name in names if name[:1] != "." and name not in _OURS), _SHOWN))
    if others:
        raise ConfigError(
            f"--out {directory.uri!r} holds other files ({', '.join(others)}); give a new folder"
        )
