"""Plants a crash in processes that start later: they crash at the packets of some videos.

It imitates a decoder that crashes at a damaged file. A Python process that finds a module
``sitecustomize`` on its path imports it at the start, and that module plants the crash.
"""

from pathlib import Path

_SITE = """
import os, sys
from importlib.machinery import PathFinder

class Planter:
    def find_spec(self, name, path=None, target=None):
        if name != {module!r}:
            return None
        spec = PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module
        def exec_module(module):
            execute(module)
            plant(module)
        spec.loader.exec_module = exec_module
        return spec

def plant(module):
    packets = module.OpenVideo.packets
    def crashing(self):
        for packet in packets(self):
            if {mark!r} in self.container.name and (packet.pts or 0) >= {from_pts}:
                {code}
            yield packet
    module.OpenVideo.packets = crashing

sys.meta_path.insert(0, Planter())
"""


def plant(folder: Path, *, mark: str, code: str, from_pts: int = 0) -> str:
    """Write the module.

    Args:
        folder: the folder for the module.
        mark: part of the names of the videos that crash.
        code: statement that crashes the process.
        from_pts: ticks of the first packet that crashes.

    Returns:
        The folder to be put on the processes' path.
    """
    site = folder / "site"
    site.mkdir()
    text = _SITE.format(module="jobs.media.video.source", mark=mark, code=code, from_pts=from_pts)
    (site / "sitecustomize.py").write_text(text)
    return str(site)
