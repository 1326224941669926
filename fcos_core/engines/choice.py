"""Which engine and precision a run gets when its user leaves them open. Imports no torch."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from fcos_core.config import EngineName, Precision
from fcos_core.errors import ConfigError

OPENVINO_INSTALL = "pip install openvino"

_BF16_CAPABILITY = (8, 0)
_OPENVINO_PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What the choice depends on.

    Args:
        device: where the network runs.
        has_bf16: whether the device computes in bfloat16 itself.
        extras: the optional engines that are installed where it runs.
    """

    device: Literal["cpu", "cuda"]
    has_bf16: bool
    extras: Collection[EngineName] = ()


FALLBACK: EngineName = "folded"
"""What computes for a run whose own engine is not here: it needs torch alone, on every device."""


@dataclass(frozen=True, kw_only=True)
class EngineChoice:
    """An engine, its precision, and in one line why."""

    engine: EngineName
    precision: Precision
    reason: str


def runs_here(engine: EngineName, precision: Precision, hardware: Hardware) -> bool:
    """Whether an engine that was chosen elsewhere runs here, in that precision."""
    try:
        choose_engine(hardware, engine=engine, precision=precision)
    except ConfigError:
        return False
    return True


def gpu_has_bf16(capability: tuple[int, int]) -> bool:
    """Whether a CUDA device of this compute capability has bfloat16 units: from 8.0 on."""
    return capability >= _BF16_CAPABILITY


def choose_engine(
    hardware: Hardware,
    *,
    engine: EngineName | Literal["auto"] = "auto",
    precision: Precision | Literal["auto"] = "auto",
) -> EngineChoice:
    """Fix what is ``auto``.

    A CPU gets the fastest engine that keeps float32's detections, and bfloat16 only when asked. A
    CUDA device gets the engine ``cuda``, in bfloat16 where it has units for it. ``fp32`` that is
    asked for by name, without an engine, is the reference, ``eager``.

    Raises:
        ConfigError: the engine does not run here, or has no such precision.
    """
    if engine != "auto":
        _require(engine, hardware)
    if hardware.device == "cuda":
        return _on_cuda(hardware, engine, precision)
    return _on_cpu(hardware, engine, precision)


def _require(engine: EngineName, hardware: Hardware) -> None:
    if engine == "openvino" and hardware.device != "cpu":
        raise ConfigError(f"engine openvino: needs a CPU, the device is {hardware.device}")
    if engine == "cuda" and hardware.device != "cuda":
        raise ConfigError(f"engine cuda: needs a CUDA device, the device is {hardware.device}")
    if engine == "openvino" and engine not in hardware.extras:
        raise ConfigError(f"engine openvino: is not installed; {OPENVINO_INSTALL}")


def _on_cuda(
    hardware: Hardware,
    engine: EngineName | Literal["auto"],
    precision: Precision | Literal["auto"],
) -> EngineChoice:
    if precision == "auto":
        precision = "bf16" if hardware.has_bf16 and engine != "eager" else "fp32"
        reason = (
            "this GPU has bf16 units; --precision fp32 is the reference, and slower"
            if precision == "bf16"
            else "eager was asked for"
            if engine == "eager"
            else "this GPU has no bf16 units"
        )
        return EngineChoice(
            engine="cuda" if engine == "auto" else engine, precision=precision, reason=reason
        )
    if engine == "auto":
        engine = "eager" if precision == "fp32" else "cuda"
        faster = "; --engine cuda with it is faster" if precision == "fp32" else ""
        return EngineChoice(
            engine=engine, precision=precision, reason=f"{precision} was asked for{faster}"
        )
    return EngineChoice(engine=engine, precision=precision, reason="both were asked for")


def _on_cpu(
    hardware: Hardware,
    engine: EngineName | Literal["auto"],
    precision: Precision | Literal["auto"],
) -> EngineChoice:
    is_asked = precision != "auto"
    if precision == "auto":
        precision = "fp32"
    if engine == "openvino":
        _require_openvino_precision(precision, hardware)
    if engine != "auto":
        return EngineChoice(engine=engine, precision=precision, reason=f"{engine} was asked for")
    if is_asked and precision == "fp32":
        return EngineChoice(
            engine="eager",
            precision=precision,
            reason="fp32 asked for by name is the reference; without it auto is faster",
        )
    is_openvinos = precision == "fp32" or (precision == "bf16" and hardware.has_bf16)
    if is_openvinos and "openvino" in hardware.extras:
        return EngineChoice(
            engine="openvino", precision=precision, reason=f"the fastest in {precision} here"
        )
    slow = "" if is_openvinos else _slow(precision)
    more = "" if slow else f"; faster with {OPENVINO_INSTALL}"
    return EngineChoice(
        engine="folded",
        precision=precision,
        reason=slow or f"the fastest in {precision} of what is installed{more}",
    )


def _slow(precision: Precision) -> str:
    return f"this processor has no {precision} units: fp32 would be faster"


def _require_openvino_precision(precision: Precision, hardware: Hardware) -> None:
    if precision not in _OPENVINO_PRECISIONS:
        raise ConfigError(
            f"engine openvino: precision {precision}, must be {' or '.join(_OPENVINO_PRECISIONS)}"
        )
    if precision == "bf16" and not hardware.has_bf16:
        raise ConfigError(
            "engine openvino: precision bf16, this processor has no bf16 units; --precision fp32"
        )
