"""Plants a death in the processes that are started from now on: at the packets of some videos.

It is what a decoder that crashes on a damaged file comes to. Python itself does it when it starts:
a process that finds ``sitecustomize`` on its path imports it first.
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
    def deadly(self):
        for packet in packets(self):
            if {mark!r} in self.container.name and (packet.pts or 0) >= {from_pts}:
                {code}
            yield packet
    module.OpenVideo.packets = deadly

sys.meta_path.insert(0, Planter())
"""


def plant(folder: Path, *, mark: str, code: str, from_pts: int = 0) -> str:
    """Write the module.

    Args:
        folder: to write it into.
        mark: of the videos' names.
        code: what kills.
        from_pts: of the first packet that does.

    Returns:
        What the processes are to find on their path.
    """
    site = folder / "site"
    site.mkdir()
    text = _SITE.format(module="jobs.media.video.source", mark=mark, code=code, from_pts=from_pts)
    (site / "sitecustomize.py").write_text(text)
    return str(site)
