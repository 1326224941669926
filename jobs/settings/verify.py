"""Settings of ``fcos verify``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from jobs.settings.base import Address, JobSettings, NumProcesses, Option, RunArgument


class VerifyConfig(JobSettings):
    """Which run to prove complete, and what to look at beside its files."""

    run: RunArgument
    inputs: Annotated[bool, Option()] = Field(
        default=False,
        description="list the inputs again, and say what is new, changed or gone",
    )
    rows_digest: Annotated[bool, Option()] = Field(
        default=False,
        description="also digest all rows one after another, to compare runs that are cut into "
        "other shards",
    )
    num_actors: NumProcesses = "auto"
    address: Address = None
