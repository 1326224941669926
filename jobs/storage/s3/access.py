"""What AWS's own environment and configuration cannot say about how we use S3.

Endpoint, region, profile, credentials, addressing style and proxies are boto3's to find, where
every AWS tool finds them. The few knobs here are variables of the environment too, so that they
reach every process of a run; a job's config file may set them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fcos_core.errors import ConfigError

PREFIX = "FCOS_S3_"


class S3Access(BaseModel):
    """How S3 is used; every field is also ``FCOS_S3_<NAME>`` in the environment.

    Attributes:
        anonymous: send no credentials, for public buckets.
        requester_pays: agree to pay for reading from buckets that ask for it.
        unsafe_commit: work on a server that ignores ``If-None-Match``: two drivers, or a worker
            that was taken for dead, may then replace each other's files.
        connect_timeout_s: how long to wait for a connection.
        read_timeout_s: how long to wait for the next bytes of an answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    anonymous: bool = False
    requester_pays: bool = False
    unsafe_commit: bool = False
    connect_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    read_timeout_s: Annotated[float, Field(gt=0)] = 60.0

    @classmethod
    def from_environment(cls) -> S3Access:
        """Read the environment of this process.

        Raises:
            ConfigError: a value is not as it must be, or a name is unknown.
        """
        given = {name.removeprefix(PREFIX).lower(): value for name, value in exported().items()}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = f"{PREFIX}{str(first['loc'][0]).upper()}"
            raise ConfigError(f"{name}={first['input']!r}: {first['msg']}") from error

    def environment(self) -> Mapping[str, str]:
        """Say what differs from the default as variables of the environment."""
        told = self.model_dump(exclude_defaults=True)
        return {f"{PREFIX}{name.upper()}": str(value) for name, value in told.items()}


def current() -> tuple[str | None, ...]:
    """The values of our variables now, to notice when they change."""
    return tuple(os.environ.get(f"{PREFIX}{name.upper()}") for name in S3Access.model_fields)


def exported() -> Mapping[str, str]:
    """Those variables of the environment that processes on other machines must have too."""
    return {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
