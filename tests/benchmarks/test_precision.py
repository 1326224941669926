"""The gate of every engine and precision: AP of the bundled checkpoint on the demo's images."""

from pathlib import Path

import pytest

from benchmarks.bench_precision import BF16, FP32, judge, outside
from jobs.parallel.devices import cpu_has_bf16
from jobs.settings.demo import DemoConfig


@pytest.mark.slow
def test_every_fp32_engine_finds_what_the_reference_finds(tmp_path: Path):
    """Few images here, all of them below: no detection comes or goes, or moves by 0.01 px."""
    judged, left_out = judge(tmp_path, 6, contestants=FP32)
    assert [one.name for one in judged[:2]] == ["eager fp32", "folded fp32"]
    assert len(judged) + len(left_out) == len(FP32)
    assert judged[0].difference.num_reference > 100
    assert [one.name for one in judged if not one.difference.is_none] == []


@pytest.mark.slow
def test_the_ap_of_every_engine_is_that_of_the_reference(tmp_path: Path):
    contestants = (*FP32, *(BF16 if cpu_has_bf16() else BF16[1:2]))  # minutes without units
    judged, _ = judge(tmp_path, DemoConfig().num_images, contestants=contestants)
    assert outside(judged) == []
    exact = [one.ap for one in judged if one.name.endswith("fp32")]
    assert max(exact) - min(exact) <= 0.0001
