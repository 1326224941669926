"""The numerics version is raised when a golden result moves; a run is resumed only with its own."""

from dataclasses import replace

import numpy as np
import torch

from fcos_core.numerics import NUMERICS_VERSION
from tests.fcos_core.golden_numerics import detect, digest, place, read


def test_the_numerics_version_names_what_is_computed():
    golden = read()
    assert golden["numerics_version"] == NUMERICS_VERSION
    found = detect()
    for one, expected in zip(found, golden["detections"], strict=True):
        assert one.labels.tolist() == expected["labels"]
        np.testing.assert_allclose(one.boxes.numpy(), expected["boxes"], rtol=0, atol=0.01)
        np.testing.assert_allclose(one.scores.numpy(), expected["scores"], rtol=0, atol=1e-4)
    # Bits are compared where these processors and versions of torch were seen before.
    assert digest(found) == golden["digests"].get(place(), digest(found))


def test_one_bit_more_changes_the_digest():
    found = detect()
    with torch.inference_mode():
        scores = found[0].scores.clone()
        scores[0] = torch.nextafter(scores[0], torch.tensor(2.0))
    assert digest([replace(found[0], scores=scores), *found[1:]]) != digest(found)
