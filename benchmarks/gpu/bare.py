"""For a machine with torch, torchvision, numpy and OpenCV, and maybe nothing else that we need."""

from __future__ import annotations

import sys
import types
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class _Annotation:
    """Stands for ``Float`` and its like: ``Float[Tensor, "B 4"]`` is the tensor's type."""

    def __class_getitem__(cls, item: object) -> object:
        return item[0] if isinstance(item, tuple) else object


def _annotation(name: str) -> type[_Annotation]:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Annotation


def prepare() -> None:
    """Make ``fcos_core`` importable; jaxtyping only annotates, so a stand-in may take its place."""
    for folder in (ROOT, ROOT / "benchmarks" / "peers"):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    if find_spec("jaxtyping") is None:
        module = types.ModuleType("jaxtyping")
        module.__dict__["__getattr__"] = _annotation
        sys.modules["jaxtyping"] = module


def missing(*names: str) -> str | None:
    """Which of these packages are not installed, as the reason of a skipped step."""
    absent = [name for name in names if find_spec(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else None
