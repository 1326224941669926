import json
import math

import pytest

from fcos_core.errors import ConfigError
from fcos_core.training import StepReport
from jobs.training.metrics_log import (
    MetricsLog,
    MetricsTail,
    last_records,
    to_record,
    to_report,
)


def record(step, **evaluation):
    return to_record(StepReport(step, 0.1, 1.0, 0.5, 0.25, 2.0), evaluation)


def steps(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_a_resumed_log_holds_each_step_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, num_done=0) as log:
        for step in range(1, 8):
            log.append(record(step))
    with path.open("a") as file:
        file.write('{"step": 8, "los')  # the process died here
    with MetricsLog(path, num_done=5) as log:
        log.append(record(6))
        log.sync()
    assert steps(path) == [1, 2, 3, 4, 5, 6]
    with MetricsLog(path, num_done=0):
        pass
    assert steps(path) == []


def test_a_reader_follows_the_log_and_its_cuts(tmp_path):
    path = tmp_path / "metrics.jsonl"
    tail = MetricsTail(path)
    assert tail.new_records() == []
    with MetricsLog(path, num_done=0) as log:
        log.append(record(1))
        log.append(record(2))
        assert [line["step"] for line in tail.new_records()] == [1, 2]
        assert tail.new_records() == []
    with MetricsLog(path, num_done=1) as log:
        assert tail.new_records() == []
        log.append(record(2))
        assert [line["step"] for line in tail.new_records()] == [2]


def test_what_is_not_finite_is_null_in_the_file():
    report = StepReport(1, 0.1, 1.0, 0.5, 0.25, math.inf)
    line = to_record(report, None)
    assert line["gradient_norm"] is None
    assert math.isnan(to_report(line).gradient_norm)
    assert to_report(line).total == report.total


def test_the_last_evaluation_is_found(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, num_done=0) as log:
        log.append(record(1, AP=0.5))
        log.append(record(2))
    last, evaluated = last_records(path)
    assert last["step"] == 2
    assert evaluated is not None
    assert evaluated["AP"] == 0.5


@pytest.mark.parametrize("damage", [b'{"step": 2, "lo\n', b"[]\n", b"\xff\n"])
def test_a_damaged_line_is_named_before_the_log_is_written_to(tmp_path, damage):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, num_done=0) as log:
        log.append(record(1))
    with path.open("ab") as file:
        file.write(damage)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"metrics.jsonl' is damaged: line 2"):
        MetricsLog(path, num_done=2)
    with pytest.raises(ConfigError, match=r"metrics.jsonl' is damaged: line 2"):
        last_records(path)
    assert path.read_bytes() == before
