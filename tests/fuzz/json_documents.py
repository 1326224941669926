"""Seeded changes to a JSON document that leave it JSON: what other tools write by mistake."""

import copy
import json
import math
from typing import Any, cast

import numpy as np

Random = np.random.Generator

_ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**63) - 1,
    10**400,
    0.5,
    -0.0,
    1e-320,
    1e308,
    math.nan,
    math.inf,
    -math.inf,
    "",
    "x",
    "1",
    "a\0b",
    "../../etc/passwd",
    "\ud800",
    "\n",
    "ä#%41 .jpg",
    "x" * 5000,
    [],
    [[]],
    {},
    {"id": 1},
    [1, 2, 3, 4],
    [math.nan] * 4,
)


def change(document: Any, random: Random) -> bytes:
    """Change one to three places of a document.

    Args:
        document: anything ``json`` can write; it is left alone.
        random: decides everything.

    Returns:
        The changed document as JSON, or as what Python's writer makes of NaN.
    """
    changed = json.loads(json.dumps(document))
    for _ in range(1 if random.random() < 0.7 else 3):
        changed = _change_somewhere(changed, random)
    return json.dumps(changed, ensure_ascii=bool(random.random() < 0.5)).encode(
        "utf-8", "surrogatepass"
    )


def _odd(random: Random) -> Any:
    return copy.deepcopy(_ODD[int(random.integers(len(_ODD)))])


def _change_somewhere(value: Any, random: Random) -> Any:
    """Change a value at a random path; short paths are more likely."""
    if not (isinstance(value, dict | list) and value) or random.random() < 0.15:
        return _odd(random)
    holder = cast("Any", value)
    keys: list[Any] = list(holder) if isinstance(value, dict) else list(range(len(holder)))
    key = keys[int(random.integers(len(keys)))]
    match int(random.integers(8)):
        case 0:
            del holder[key]
        case 1 if isinstance(value, list):
            holder.append(copy.deepcopy(holder[key]))
        case 1:
            holder[f"{key}s"] = holder.pop(key)
        case 2:
            holder[key] = _odd(random)
        case _:
            holder[key] = _change_somewhere(holder[key], random)
    return holder
