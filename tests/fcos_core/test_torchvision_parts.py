"""torchvision without torch's compiler, until somebody needs that."""

from tests.commands import DONE, run_python

IMPORTS = """
import sys
import fcos_core.decoding, fcos_core.checkpoint, fcos_core.model.detector
assert not [name for name in sys.modules if name.startswith("torch._dynamo")]
"""


def test_fcos_does_not_wait_for_the_compiler() -> None:
    done = run_python("-c", IMPORTS)
    assert done.code == DONE, done.stderr


def test_roi_align_still_finds_the_compiler_when_it_asks_for_it() -> None:
    asked = """
import torch
asking = sys.modules["torchvision.ops.roi_align"]
supported = asking.is_compile_supported("cpu")
import torch._dynamo.utils
assert sys.modules["torch._dynamo.utils"] is torch._dynamo.utils
assert supported is torch._dynamo.utils.is_compile_supported("cpu")
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)) == 2
"""
    done = run_python("-c", IMPORTS + asked)
    assert done.code == DONE, done.stderr
