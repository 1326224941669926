"""One seeded storm: a run during which workers, nodes and drivers are killed."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.rundir.directory import RunDirectory
from tests.chaos.nodes import Nodes
from tests.commands import DONE, INCOMPLETE, TIMEOUT_S, Answer, Running, started

MAX_DRIVERS = 8
KINDS = ("worker", "worker", "node", "driver")


@dataclass(frozen=True)
class Strike:
    """One kill.

    Attributes:
        kind: ``worker``, ``node`` or ``driver``.
        at: number of committed shards for which the kill waits.
        delay_s: pause after that.
    """

    kind: str
    at: int
    delay_s: float


def draw_strikes(seed: int, *, num_strikes: int, num_shards: int) -> list[Strike]:
    """Draw the kills of a storm; some come before any shard is committed."""
    draw = random.Random(seed)  # noqa: S311 -- no security
    moments = sorted(draw.randrange(-num_shards // 5, num_shards) for _ in range(num_strikes))
    kinds = [draw.choice(KINDS) for _ in moments]
    return [
        Strike(kind, max(0, at), draw.uniform(0, 0.2 if at >= 0 else 6))
        for kind, at in zip(kinds, moments, strict=True)
    ]


@dataclass
class Storm:
    """The run of a command during a storm.

    Attributes:
        command: ``detect`` and its arguments, without the address.
        run: the run directory.
        nodes: the cluster.
        environment: of the command.
        strikes: kills that are still to come, in order.
        happened: what has happened, for the message of a failing test.
    """

    command: Sequence[str]
    run: RunDirectory
    nodes: Nodes
    environment: Mapping[str, str]
    strikes: list[Strike]
    happened: list[str]
    _began: float = 0.0

    def run_until_complete(self) -> dict[str, Any]:
        """Give the command again until it succeeds, and return its last line of output."""
        draw = random.Random(len(self.strikes))  # noqa: S311 -- as above
        self._began = time.monotonic()
        for _ in range(MAX_DRIVERS):
            answer = self._drive(draw)
            self._note(f"driver ended with {answer.code}")
            if answer.code == DONE:
                return answer.result()
            # A storm may leave the run incomplete; other codes are bugs.
            assert answer.code in {INCOMPLETE, -signal.SIGKILL}, f"{self.happened}\n{answer.stderr}"
        raise AssertionError(f"{MAX_DRIVERS} drivers were not enough: {self.happened}")

    def _drive(self, draw: random.Random) -> Answer:
        command = [*self.command, "--address", self.nodes.address]
        with started(*command, environment=self.environment) as driver:
            while self.strikes and self._wait_for(driver, self.strikes[0]):
                self._strike(self.strikes.pop(0), driver, draw)
            return driver.finish()

    def _wait_for(self, driver: Running, strike: Strike) -> bool:
        """Wait for the moment of a kill; return whether the driver is still running then."""
        end = time.monotonic() + TIMEOUT_S
        while not driver.has_ended():
            assert time.monotonic() < end, self.happened
            if strike.at == 0 or self._num_committed() >= strike.at:
                time.sleep(strike.delay_s)
                return not driver.has_ended()
            time.sleep(0.05)
        return False

    def _note(self, what: str) -> None:
        self.happened.append(f"{time.monotonic() - self._began:.0f} s: {what}")

    def _num_committed(self) -> int:
        return len(self.run.list_shards().shards)

    def _strike(self, strike: Strike, driver: Running, draw: random.Random) -> None:
        self._note(f"{strike.kind} at {self._num_committed()}")
        if strike.kind == "driver":
            driver.send(signal.SIGKILL)
        elif strike.kind == "node":
            self.nodes.kill(draw.choice(self.nodes.raylets))
            self.nodes.add()
        elif workers := self.nodes.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(draw.choice(workers), signal.SIGKILL)


def detect_command(
    inputs: str, out: str, weights: str | Path, *, num_actors: int, shard_size: int
) -> list[str]:
    """The command of a storm: small shards, one thread per actor."""
    return [
        *("detect", inputs, "--out", out, "--weights", str(weights)),
        *("--shard-size", str(shard_size), "--batch-size", "2"),
        *("--threads-per-actor", "1", "--num-actors", str(num_actors)),
    ]
