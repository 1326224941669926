"""Proves that a run is complete, or says what is missing, double, damaged or foreign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import Proof, prove
from jobs.rundir.summary import counts, incompleteness
from jobs.settings.verify import VerifyConfig


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """What the proof came to.

    Attributes:
        run: uri of the run's directory.
        skipped: files that were passed over when the inputs were listed.
        proof: the counts, the digest and every problem.
    """

    run: str
    skipped: int
    proof: Proof

    @property
    def failure(self) -> str | None:
        """Why the run is not complete, in one line; None when it is."""
        return incompleteness(self.proof)

    def summary(self) -> dict[str, Any]:
        """Say it in the names that scripts rely on."""
        return {"run": self.run, **counts(self.proof), "skipped": self.skipped}


def run(config: VerifyConfig) -> VerifyResult:
    """Check every shard of a run against its manifest, reading all of it."""
    directory = RunDirectory(config.run)
    skipped = int(directory.read_manifest_metadata().get("skipped", "0"))
    return VerifyResult(run=directory.uri, skipped=skipped, proof=prove(directory))
