"""Whether a worker's device and libraries give the numbers of its run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fcos_core.config import EngineName
from fcos_core.engines.choice import OPENVINO_INSTALL
from fcos_core.errors import ConfigError
from jobs.parallel.devices import device_model
from jobs.parallel.libraries import extras, installed_libraries, libraries_of
from jobs.worker.messages import WorkerSettings

_FALLBACK: EngineName = "folded"  # needs torch alone


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
        ConfigError: they differ, and ``allow_mixed_devices`` is not set.
    """
    model = device_model(settings.device)
    installed = installed_libraries()
    has_engine = settings.engine != "openvino" or settings.engine in extras(installed)
    difference = _difference(settings, model, libraries_of(settings.engine, installed))
    if difference and not settings.allow_mixed_devices:
        remedy = "" if has_engine else f"; {OPENVINO_INSTALL}"
        raise ConfigError(
            f"{difference}: rows would differ in their last bits; pass --allow-mixed-devices to "
            f"accept that{remedy}"
        )
    return Place(
        device_model=model,
        engine=settings.engine if has_engine else _FALLBACK,
        has_run_numbers=not difference,
    )


def _difference(settings: WorkerSettings, model: str, libraries: Mapping[str, str]) -> str | None:
    if model != settings.device_model:
        return f"a worker's device is {model!r}, the run's is {settings.device_model!r}"
    for name in sorted({*libraries, *settings.libraries}):
        here, there = libraries.get(name, "absent"), settings.libraries.get(name, "absent")
        if here != there:
            return f"a worker's {name} is {here}, the run's is {there}"
    return None
