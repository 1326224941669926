"""Whether a worker's device and libraries give the numbers of its run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fcos_core.config import EngineName
from fcos_core.engines.choice import FALLBACK, OPENVINO_INSTALL, Hardware, runs_here
from fcos_core.errors import ConfigError
from fcos_core.numerics import NUMERICS_VERSION
from jobs.parallel.devices import find_device
from jobs.parallel.libraries import extras, libraries_of
from jobs.worker.messages import WorkerSettings


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a worker computes.

    Attributes:
        device_model: found here.
        engine: the run's, or another one where a mixed run allows that.
        has_run_numbers: whether the rows equal, bit for bit, those of the place where it began.
    """

    device_model: str
    engine: EngineName
    has_run_numbers: bool


def check_place(settings: WorkerSettings) -> Place:
    """Compare the device, the libraries and the engines found here with the run's.

    Raises:
        ConfigError: they differ, and ``allow_mixed_devices`` is not set; or this version computes
            other numbers, and ``allow_version_change`` is not set.
    """
    found = find_device(settings.device)
    hardware = Hardware(
        device="cuda" if settings.device == "cuda" else "cpu",
        has_bf16=found.has_bf16,
        extras=extras(found.libraries),
    )
    has_engine = runs_here(settings.engine, settings.precision, hardware)
    libraries = libraries_of(settings.engine, found.libraries)
    difference = _difference(settings, found.model, libraries)
    if difference is None and not has_engine:
        difference = f"a worker has no engine {settings.engine} in {settings.precision}"
    if difference and not settings.allow_mixed_devices:
        missing = settings.engine == "openvino" and "openvino" not in found.libraries
        remedy = f"; {OPENVINO_INSTALL}=={settings.libraries['openvino']}" if missing else ""
        raise ConfigError(
            f"{difference}: rows would differ; pass --allow-mixed-devices to accept that{remedy}"
        )
    has_changed = settings.numerics_version != NUMERICS_VERSION
    if has_changed and not settings.allow_version_change:
        raise ConfigError(
            f"a worker's numerics version is {NUMERICS_VERSION}, the run's is "
            f"{settings.numerics_version}: rows would differ; pass --allow-version-change to "
            "accept that"
        )
    return Place(
        device_model=found.model,
        engine=settings.engine if has_engine else FALLBACK,
        has_run_numbers=not difference and not has_changed,
    )


def _difference(settings: WorkerSettings, model: str, libraries: Mapping[str, str]) -> str | None:
    if model != settings.device_model:
        return f"a worker's device is {model!r}, the run's is {settings.device_model!r}"
    for name in sorted({*libraries, *settings.libraries}):
        here, there = libraries.get(name, "absent"), settings.libraries.get(name, "absent")
        if here != there:
            return f"a worker's {name} is {here}, the run's is {there}"
    return None
