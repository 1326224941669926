"""Prove that a run is complete, or say what is missing, double, damaged or foreign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import Proof, prove, rows_digest
from jobs.settings.verify import VerifyConfig


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """The proof of a run.

    Attributes:
        run: uri of the run's directory.
        skipped: number of files that the newest listing of the inputs passed over.
        proof: of the run's files.
        rows_digest: of all rows however they are cut into shards; None unless it was asked for and
            the run is complete.
    """

    run: str
    skipped: int
    proof: Proof
    rows_digest: str | None

    @property
    def failure(self) -> str | None:
        """Why the run is not complete, in one line; None when it is."""
        return self.proof.incompleteness

    def summary(self) -> dict[str, Any]:
        """The command's last line on stdout."""
        return {
            "run": self.run,
            **self.proof.summary(),
            **({} if self.rows_digest is None else {"rows_digest": self.rows_digest}),
            "skipped": self.skipped,
        }


def run(config: VerifyConfig) -> VerifyResult:
    """Check every shard of a run against its manifest, reading all of it."""
    directory = RunDirectory(config.run)
    skipped = directory.manifest().skipped
    proof = prove(directory, num_workers=config.num_actors, address=config.address)
    return VerifyResult(
        run=directory.uri,
        skipped=skipped,
        proof=proof,
        rows_digest=rows_digest(directory) if config.rows_digest and proof.complete else None,
    )
