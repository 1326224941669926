"""torchvision is imported without torch's compiler, which RoIAlign imports when it is called."""

from tests.commands import DONE, run_python

IMPORTS = """
import sys
import fcos_core.decoding, fcos_core.checkpoint, fcos_core.model.detector
assert not [name for name in sys.modules if name.startswith("torch._dynamo")]
"""


def test_importing_fcos_does_not_import_the_compiler() -> None:
    done = run_python("-c", IMPORTS)
    assert done.code == DONE, done.stderr


def test_roi_align_imports_the_real_compiler_when_it_is_called() -> None:
    call = """
import torch
roi_align = sys.modules["torchvision.ops.roi_align"]
supported = roi_align.is_compile_supported("cpu")
import torch._dynamo.utils
assert sys.modules["torch._dynamo.utils"] is torch._dynamo.utils
assert supported is torch._dynamo.utils.is_compile_supported("cpu")
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)) == 2
"""
    done = run_python("-c", IMPORTS + call)
    assert done.code == DONE, done.stderr
