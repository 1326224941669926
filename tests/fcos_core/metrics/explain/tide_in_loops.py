"""TIDE in plain loops, for the fast one to be compared with."""

from fcos_core.metrics.explain.gains import Oracle
from tests.fcos_core.metrics.explain.scenes import (
    Scene,
    iou,
    loop_matches,
    loop_precision,
    ranked,
)


class LoopTide:
    """TIDE as the paper tells it, detection by detection."""

    def __init__(self, scene: Scene):
        self.scene = scene
        self.outcome = loop_matches(scene)
        self.taken = {g for g in self.outcome.values() if g not in (None, -1)}
        self.boxes = [
            g
            for g, t in enumerate(scene.things)
            if not t.is_crowd and t.category in scene.categories
        ]
        self.verdicts: dict[int, str] = {}
        self.repairs: dict[tuple[str, int], int] = {}  # the best error of a kind per box
        for n in ranked(scene):
            self.verdicts[n] = self.verdict(n)

    def nearest(self, n: int, *, is_own: bool) -> tuple[float, int | None]:
        found, best = self.scene.found[n], (0.0, None)
        for g in self.boxes:
            thing = self.scene.things[g]
            if thing.image == found.image and (thing.category == found.category) == is_own:
                best = max(best, (iou(found.box, thing), g), key=lambda pair: pair[0])
        return best

    def verdict(self, n: int) -> str:
        if self.outcome[n] is not None:
            return "IGNORED" if self.outcome[n] == -1 else "FOUND"
        own, own_box = self.nearest(n, is_own=True)
        other, other_box = self.nearest(n, is_own=False)
        if 0.1 <= own < 0.5:
            return self.claim("LOC", own_box, n)
        if other >= 0.5:
            return self.claim("CLS", other_box, n)
        if own >= 0.5:
            return "DUPE"
        return "BKG" if other <= 0.1 else "BOTH"

    def claim(self, kind: str, box: int, n: int) -> str:
        if box not in self.taken:
            self.repairs.setdefault((kind, box), n)
        return kind

    def categories(self):
        scene, meant = self.scene, {box for _, box in self.repairs}
        for category in scene.categories:
            boxes = [g for g in self.boxes if scene.things[g].category == category]
            missed = sum(g not in self.taken and g not in meant for g in boxes)
            own = sorted(ranked(scene, category), key=lambda n: scene.found[n].image)
            names = [self.verdicts[n] for n in own]
            yield {
                "boxes": len(boxes),
                "missed": missed,
                "verdicts": {name: names.count(name) for name in set(names)},
                "precision": self.precision(own, boxes, missed) if boxes else {},
            }

    def precision(self, own: list[int], boxes: list[int], missed: int):
        scene = self.scene
        rows = [(n, self.verdicts[n] == "FOUND") for n in own if self.verdicts[n] != "IGNORED"]

        def curve(kept: list[tuple[int, bool]], num_boxes: int = len(boxes)) -> list[float]:
            kept = sorted(kept, key=lambda row: -scene.found[row[0]].score)
            return loop_precision([is_true for _, is_true in kept], num_boxes)

        def without(kind: str) -> list[tuple[int, bool]]:
            return [row for row in rows if self.verdicts[row[0]] != kind]

        def repaired(kind: str) -> list[tuple[int, bool]]:
            return [(n, True) for (k, g), n in self.repairs.items() if k == kind and g in boxes]

        return {
            Oracle.NONE: curve(rows),
            Oracle.CLS: curve(without("CLS") + repaired("CLS")),
            Oracle.LOC: curve(
                sorted(without("LOC") + repaired("LOC"), key=lambda r: own.index(r[0]))
            ),
            Oracle.BOTH: curve(without("BOTH")),
            Oracle.DUPE: curve(without("DUPE")),
            Oracle.BKG: curve(without("BKG")),
            Oracle.MISS: curve(rows, len(boxes) - missed),
            Oracle.FALSE_POSITIVE: curve([row for row in rows if row[1]]),
            Oracle.FALSE_NEGATIVE: curve(rows, sum(is_true for _, is_true in rows)),
        }
