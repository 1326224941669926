"""What a user may ask of ``fcos verify``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class VerifyConfig(BaseModel):
    """What to prove.

    Attributes:
        run: the run's directory.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
