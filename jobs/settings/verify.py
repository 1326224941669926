"""Settings of ``fcos verify``."""

from __future__ import annotations

from jobs.settings.base import JobSettings, RunArgument


class VerifyConfig(JobSettings):
    """Which run to prove complete."""

    run: RunArgument
