"""Best possible recall: which ground-truth boxes a detector's training could recall at all.

A box is recalled when at least one sample (a location of FCOS, an anchor of RetinaNet) is assigned
to it during training; section 4.1 of FCOS (arXiv 1904.01355). It needs no weights and no pixels.
"""

from fcos_core.metrics.bpr.anchors import measure_anchors
from fcos_core.metrics.bpr.locations import measure_locations
from fcos_core.metrics.bpr.rules import (
    CUSTOM_RULE,
    DEFAULT_RULES,
    AnchorRule,
    LocationRule,
    Rule,
    custom_rule,
    named_rule,
    rule_names,
    rule_of_preset,
)
from fcos_core.metrics.bpr.structures import BoxBlock, Cause, Outcomes, Shadows

__all__ = [
    "CUSTOM_RULE",
    "DEFAULT_RULES",
    "AnchorRule",
    "BoxBlock",
    "Cause",
    "LocationRule",
    "Outcomes",
    "Rule",
    "Shadows",
    "custom_rule",
    "measure",
    "named_rule",
    "rule_names",
    "rule_of_preset",
]


def measure(block: BoxBlock, rule: Rule) -> Outcomes:
    """Find out which boxes a rule recalls, and why it loses the others."""
    if isinstance(rule, AnchorRule):
        return measure_anchors(block, rule)
    return measure_locations(block, rule)
