"""Prove that a run is complete, or say what is missing, double, damaged or foreign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobs.planning.begin import reopen_run
from jobs.planning.extend import compare_inputs
from jobs.rundir.directory import RunDirectory
from jobs.rundir.manifest.index import Growth
from jobs.rundir.proof import Proof, prove
from jobs.rundir.shard_reading import rows_digest
from jobs.settings.detect import DetectConfig
from jobs.settings.verify import VerifyConfig


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """The proof of a run.

    Attributes:
        run: uri of the run's directory.
        skipped: number of files that the newest listing of the inputs passed over.
        proof: of the run's files.
        growth: how the inputs differ from the run; None unless that was asked for.
        rows_digest: of all rows however they are cut into shards; None unless it was asked for and
            the run is complete.
    """

    run: str
    skipped: int
    proof: Proof
    growth: Growth | None
    rows_digest: str | None

    @property
    def failure(self) -> str | None:
        """Why the run is not complete, or not that of its inputs, in one line; None when it is."""
        if self.proof.incompleteness or self.growth is None:
            return self.proof.incompleteness
        new, changed = self.growth.num_new, self.growth.num_changed
        if not new and not changed:
            return None
        return (
            f"the run lacks {new} new and {changed} changed inputs; the command that began it adds "
            "them with --extend"
        )

    def summary(self) -> dict[str, Any]:
        """The command's last line on stdout."""
        return {
            "run": self.run,
            **self.proof.summary(),
            **({} if self.growth is None else self.growth.summary()),
            **({} if self.rows_digest is None else {"rows_digest": self.rows_digest}),
            "skipped": self.skipped,
        }


def run(config: VerifyConfig) -> VerifyResult:
    """Check every shard of a run against its manifest, reading all of it."""
    directory = RunDirectory(config.run)
    manifest = directory.manifest()
    proof = prove(directory, num_workers=config.num_actors, address=config.address)
    return VerifyResult(
        run=directory.uri,
        skipped=manifest.skipped,
        proof=proof,
        growth=_growth(directory) if config.inputs else None,
        rows_digest=rows_digest(directory) if config.rows_digest and proof.complete else None,
    )


def _growth(directory: RunDirectory) -> Growth:
    """List the run's inputs again, as its own settings say."""
    run = reopen_run(directory)
    names = ("inputs", "image_root", "image_column", "limit")
    # Runs of an earlier version lack some.
    known = {name: run.fields[name] for name in names if name in run.fields}
    config = DetectConfig(out=directory.uri, **known)
    growth, _ = compare_inputs(run.manifest, config)
    return growth
