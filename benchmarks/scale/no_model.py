"""Settings of workers that load no model, for benchmarks of everything around it."""

from __future__ import annotations

from fcos_core.numerics import NUMERICS_VERSION
from jobs.worker.messages import WorkerSettings


def settings_without_a_model(run_uri: str, run_id: str) -> WorkerSettings:
    """Settings of a worker with one thread on a CPU."""
    return WorkerSettings(
        run_uri=run_uri,
        run_id=run_id,
        weights="none",
        weights_sha256="none",
        device="cpu",
        device_model="none",
        libraries={},
        allow_mixed_devices=False,
        numerics_version=NUMERICS_VERSION,
        allow_version_change=False,
        precision="fp32",
        engine="eager",
        batch_size=1,
        threads=1,
        score_threshold=0.05,
        max_pixels=1,
        bytes_in_flight=1,
    )
