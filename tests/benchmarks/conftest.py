"""Benchmarks are scripts: they find each other in their own folder."""

import sys

from tests.commands import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
