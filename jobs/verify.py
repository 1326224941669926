"""Prove that a run is complete, or say what is missing, double, damaged or foreign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import Proof, prove
from jobs.settings.verify import VerifyConfig


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """The proof of a run; ``skipped`` files were passed over when its inputs were listed."""

    run: str
    skipped: int
    proof: Proof

    @property
    def failure(self) -> str | None:
        """Why the run is not complete, in one line; None when it is."""
        return self.proof.incompleteness

    def summary(self) -> dict[str, Any]:
        """The command's last line on stdout."""
        return {"run": self.run, **self.proof.summary(), "skipped": self.skipped}


def run(config: VerifyConfig) -> VerifyResult:
    """Check every shard of a run against its manifest, reading all of it."""
    directory = RunDirectory(config.run)
    skipped = directory.manifest().skipped
    return VerifyResult(run=directory.uri, skipped=skipped, proof=prove(directory))
