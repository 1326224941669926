"""The ``fcos`` command."""

from jobs.cli.commands import main

__all__ = ["main"]
