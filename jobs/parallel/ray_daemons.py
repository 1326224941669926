"""Which of Ray's processes a private cluster starts: those that do its work, and no others."""

# pyright: reportUnknownMemberType=false
# Ray has no types

from __future__ import annotations

import contextlib
from collections.abc import Generator
from types import ModuleType

# An autoscaler for nodes that never come, a reader of logs for a driver that takes none, and a
# server of web pages, of which ``include_dashboard=False`` leaves out only a part. Together they
# take as long as a worker that loads its model. Ray has no public switch for them.
_NOT_NEEDED = ("start_monitor", "start_log_monitor", "start_api_server")


@contextlib.contextmanager
def few_daemons(ray: ModuleType) -> Generator[None]:
    """Let ``ray.init`` in the block start a head node without its monitors and web server.

    A version of Ray that starts them by other means starts them as before.
    """
    node = getattr(getattr(getattr(ray, "_private", None), "node", None), "Node", None)
    with contextlib.ExitStack() as stack:
        for name in _NOT_NEEDED:
            if (start := getattr(node, name, None)) is not None:
                stack.callback(setattr, node, name, start)
                setattr(node, name, _start_nothing)
        yield


def _start_nothing(*_: object, **__: object) -> None:
    pass
