"""Finds processes of our own making, so that tests end those and no others."""

from pathlib import Path


def children_below(pid: int) -> dict[int, str]:
    """All living descendants of a process, with what they call themselves."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            status = (folder / "stat").read_text()
            command = (
                (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
        except OSError:
            continue  # it ended while we looked
        state, parent = status.rpartition(")")[2].split()[:2]
        if state != "Z":
            parents[int(folder.name)] = int(parent)
            names[int(folder.name)] = command.strip()
    found: dict[int, str] = {}
    wanted = {pid}
    while new := {child for child, parent in parents.items() if parent in wanted} - found.keys():
        found |= {child: names[child] for child in new}
        wanted |= new
    return found


def actors_below(pid: int) -> list[int]:
    """The workers that a driver has running, whatever they are doing."""
    names = children_below(pid)
    return [child for child, title in names.items() if title.startswith("ray::WorkerActor")]
