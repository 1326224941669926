"""The engines that run on this machine's processor."""

from importlib.util import find_spec

import pytest

HAS_OPENVINO = find_spec("openvino") is not None
CPU_ENGINES = ["eager", "folded", *(["openvino"] if HAS_OPENVINO else [])]

needs_openvino = pytest.mark.skipif(not HAS_OPENVINO, reason="OpenVINO is not installed")
