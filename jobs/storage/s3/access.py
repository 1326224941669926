"""The settings of S3 that AWS's own environment and configuration lack.

boto3 finds endpoint, region, profile, credentials, addressing style and proxies where every AWS
tool finds them. The few settings here are environment variables too, so that they reach every
process of a run; a job's config file may set them.
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
        unsafe_commit: allow a server that ignores ``If-None-Match``: two drivers, or a worker
            that was wrongly given up, may then replace each other's files.
        connect_timeout_s: the longest wait for a connection.
        read_timeout_s: the longest wait for the next bytes of a response.
        response_timeout_s: the longest time for a whole response, which has at most 16 MiB. Then
            the connection is cut, and what is missing is requested again: a server that gives less
            than 56 kB/s is too slow for one response of that length, less than 5.6 kB/s for ten.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    anonymous: bool = False
    requester_pays: bool = False
    unsafe_commit: bool = False
    connect_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    read_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    response_timeout_s: Annotated[float, Field(gt=0)] = 300.0

    @classmethod
    def from_environment(cls) -> S3Access:
        """Read the environment of this process.

        Raises:
            ConfigError: a value is invalid, or a name is unknown.
        """
        given = {
            name.removeprefix(PREFIX).lower(): value for name, value in exported_variables().items()
        }
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = f"{PREFIX}{str(first['loc'][0]).upper()}"
            raise ConfigError(f"{name}={first['input']!r}: {first['msg']}") from error

    def environment(self) -> Mapping[str, str]:
        """Give the settings that differ from their defaults, as environment variables."""
        changed = self.model_dump(exclude_defaults=True)
        return {f"{PREFIX}{name.upper()}": str(value) for name, value in changed.items()}


def environment_values() -> tuple[str | None, ...]:
    """Return the current values of our variables, to notice changes."""
    return tuple(os.environ.get(f"{PREFIX}{name.upper()}") for name in S3Access.model_fields)


def exported_variables() -> Mapping[str, str]:
    """Return the environment variables that processes on other machines need too."""
    return {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
