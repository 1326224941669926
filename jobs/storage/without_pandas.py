"""pyarrow without pandas, which it imports as soon as it makes its first array.

pandas comes with Ray's training, and nothing here uses it. Its import takes most of a second of
processor time, in every process and at the worst moment: a worker's first commit.
"""

# pyright: reportUnknownMemberType=false
# pyarrow has no types

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

_PANDAS = "pandas"


class _Refused(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        """Refuse pandas, and leave any other module to the next finder.

        Raises:
            ModuleNotFoundError: the module is pandas.
        """
        del path, target
        if fullname == _PANDAS:
            raise ModuleNotFoundError(f"No module named {_PANDAS!r}", name=_PANDAS)


def keep_pandas_out() -> None:
    """Let pyarrow find no pandas, once and for all: its ``to_pandas`` fails in this process.

    Others may import pandas afterwards. To be called where a process begins that is ours alone,
    before other threads may import anything; where pandas is imported already, nothing changes.
    """
    if _PANDAS in sys.modules:
        return
    finder = _Refused()
    sys.meta_path.insert(0, finder)
    try:
        import pyarrow as pa

        pa.array([0])  # now it looks for pandas, and never again
    finally:
        sys.meta_path.remove(finder)
