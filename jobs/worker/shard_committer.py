"""Writes finished shards in the background, while the next one is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from fcos_core.errors import StorageError
from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import Row
from jobs.rundir.schemas import DigestClass
from jobs.rundir.shard import Failure, Outcome, Receipt
from jobs.rundir.shard_writing import commit_shard, encode_shard


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishedShard:
    """The rows of a shard, in manifest order, and what its footer and receipt record.

    ``num_rows`` counts each frame of a row of lost frames; ``changed_items`` and ``video_frames``
    are ``Receipt``'s.
    """

    shard: int
    rows: Sequence[Row]
    num_rows: int
    seconds: float
    device: str
    digest_class: DigestClass
    changed_items: tuple[int, ...] = ()
    video_frames: Mapping[str, int] = field(default_factory=dict[str, int])


class ShardCommitter:
    """Encodes and creates one shard file at a time, in a thread of its own."""

    def __init__(
        self,
        run: RunDirectory,
        run_id: str,
        *,
        attempt: int | None = None,
        category_names: Mapping[int, str] | None = None,
    ) -> None:
        self._run = run
        self._category_names = category_names
        self._run_id = run_id
        self._attempt = attempt
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._pending: list[Future[Outcome]] = []

    def submit(self, finished: FinishedShard) -> list[Outcome]:
        """Begin to write a shard, and return the outcomes of the earlier ones.

        They are written first: at most one shard waits in memory.
        """
        outcomes = self.wait()
        self._pending.append(self._thread.submit(self._commit, finished))
        return outcomes

    def wait(self) -> list[Outcome]:
        """Wait until all shards are written; return their outcomes."""
        pending, self._pending = self._pending, []
        return [future.result() for future in pending]

    def close(self) -> None:
        self._thread.shutdown()

    def _commit(self, finished: FinishedShard) -> Outcome:
        shard, rows = finished.shard, finished.rows
        data = encode_shard(
            rows,
            run_id=self._run_id,
            shard=shard,
            digest_class=finished.digest_class,
            category_names=self._category_names,
        )
        try:
            created = commit_shard(self._run, shard, data, attempt=self._attempt)
        except StorageError as error:
            return Failure(shard=shard, error=str(error))
        num_ok = sum(row.status == "ok" for row in rows)
        return Receipt(
            shard=shard,
            num_items=len({row.item_id for row in rows}),
            num_ok=num_ok,
            num_quarantined=finished.num_rows - num_ok,
            seconds=finished.seconds,
            created=created,
            device=finished.device,
            changed_items=finished.changed_items,
            video_frames=finished.video_frames,
        )
