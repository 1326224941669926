"""The one door to OpenVINO's package, which would report each import and conversion to its makers.

A batch job on private data tells nobody that it runs. Without the package that sends the reports,
OpenVINO takes its own stand-in.
"""

import sys
from types import ModuleType


def import_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry.

    Raises:
        ImportError: it is not installed.
    """
    # None is Python's mark of a module that cannot be imported.
    sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]
    import openvino

    return openvino
