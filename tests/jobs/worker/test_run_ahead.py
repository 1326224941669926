"""A worker on a device that runs behind the CPU; here the CPU takes that part."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from fcos_core.errors import DeviceError, NotFiniteError
from fcos_core.predictor import Pending, Predictor
from fcos_core.structures import Detections
from jobs.rundir.shard_reading import read_shard
from tests.jobs.worker.in_process import same, worker_with
from tests.jobs.worker.runs import begin_run, rows_of, worker_settings

Submit = Callable[..., Pending]


class Recorded:
    """A predictor's ``submit`` that records what happens, and fails where it is asked to.

    Args:
        submit: the predictor's own.
        refused: numbers of submissions that find no memory.
        lost: numbers of submissions whose result finds no memory.
        broken: numbers of submissions with outputs that are not finite.
    """

    def __init__(
        self,
        submit: Submit,
        *,
        refused: Sequence[int] = (),
        lost: Sequence[int] = (),
        broken: Sequence[int] = (),
    ) -> None:
        self.submit = submit
        self.refused, self.lost, self.broken = refused, lost, broken
        self.events: list[tuple[str, int]] = []

    def __call__(self, images: Sequence[np.ndarray], *, batch_size: int) -> Pending:
        number = sum(name == "submit" for name, _ in self.events)
        self.events.append(("submit", number))
        if number in self.refused:
            raise torch.OutOfMemoryError("CUDA out of memory")
        pending = self.submit(images, batch_size=batch_size)

        def read() -> list[Detections]:
            self.events.append(("read", number))
            if number in self.lost:
                raise torch.OutOfMemoryError("CUDA out of memory")
            if number in self.broken:
                raise NotFiniteError("not all finite")
            return pending.result()

        return Pending(read)


def _run(
    root: Path, images: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, **failures
) -> tuple[list, list[tuple[str, int]], str]:
    """Rows, events, and digest class of one shard that is computed ahead."""
    run, (shard,) = begin_run(root, images, shard_size=20)
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "runs_ahead", True)
        with worker_with(worker_settings(run, weights, batch_size=4)) as worker:
            predictor = worker._row_predictor.predictor
            recorded = Recorded(predictor.submit, **failures)
            patch.setattr(predictor, "submit", recorded)
            worker.process(shard)
    return rows_of(run, 0), recorded.events, read_shard(run, 0).footer.digest_class


@pytest.fixture
def expected(tmp_path: Path, images: Path, tiny_weights: Path) -> list:
    run, (shard,) = begin_run(tmp_path / "expected", images, shard_size=20)
    with worker_with(worker_settings(run, tiny_weights, batch_size=4)) as worker:
        worker.process(shard)
    return rows_of(run, 0)


@pytest.fixture
def ahead(
    tmp_path: Path, images: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[list, list[tuple[str, int]], str]]:
    return lambda **failures: _run(
        tmp_path / "ahead", images, tiny_weights, monkeypatch, **failures
    )


def test_next_batch_is_submitted_before_one_is_read(ahead, expected) -> None:
    rows, events, digest_class = ahead()

    count = len(events) // 2
    assert count >= 3
    in_turn = [("submit", 0)]
    for i in range(1, count):
        in_turn += [("submit", i), ("read", i - 1)]
    assert events == [*in_turn, ("read", count - 1)]
    assert same(rows, expected)
    assert digest_class == "exact"


@pytest.mark.parametrize(
    "failures",
    [
        pytest.param({"refused": [0]}, id="first_submission"),
        pytest.param({"refused": [1]}, id="second_submission"),
        pytest.param({"lost": [0]}, id="first_result"),
        pytest.param({"lost": [1], "refused": [0]}, id="both"),
    ],
)
def test_batch_that_fits_alone_is_computed_again_whole(ahead, expected, failures) -> None:
    rows, _, digest_class = ahead(**failures)

    assert same(rows, expected)
    assert digest_class == "exact"


def test_batch_that_does_not_fit_alone_is_halved(ahead, expected) -> None:
    # Submission 1 finds no memory, nor does the next one, which is batch 1 in its turn.
    rows, _, digest_class = ahead(refused=[1, 2, 3])

    assert digest_class == "tolerance"
    assert [row.status for row in rows] == [row.status for row in expected]
    for row, other in zip(rows, expected, strict=True):
        assert np.allclose(row.scores, other.scores, rtol=0, atol=1e-5)


def test_outputs_that_are_not_finite_once_are_looked_at_image_by_image(ahead, expected) -> None:
    rows, events, digest_class = ahead(broken=[1])

    assert same(rows, expected)
    assert digest_class == "exact"
    assert len(events) > 6


def test_failed_device_ends_the_worker(ahead, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(Predictor, "_read", fail)

    with pytest.raises(DeviceError, match="unspecified launch failure"):
        ahead()
