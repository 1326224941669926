import hashlib

import pytest

from jobs.rundir.fingerprint import explain_difference, fingerprint

FIELDS = {
    "inputs": ["/data/ü.jpg"],
    "score_threshold": 0.05,
    "limit": None,
    "input": {"min_size_px": 800, "mean": [0.1, 0.2]},
}


def test_fingerprint_is_the_sha256_of_canonical_json():
    text = (
        '{"input":{"mean":[0.1,0.2],"min_size_px":800},"inputs":["/data/ü.jpg"],'
        '"limit":null,"score_threshold":0.05}'
    )
    assert fingerprint(FIELDS) == hashlib.sha256(text.encode()).hexdigest()


def test_order_of_fields_does_not_matter_and_their_values_do():
    assert fingerprint(dict(reversed(FIELDS.items()))) == fingerprint(FIELDS)
    assert fingerprint(FIELDS | {"limit": 0}) != fingerprint(FIELDS)
    assert fingerprint(FIELDS | {"inputs": ["/data/ü.jpg", "/b"]}) != fingerprint(FIELDS)


def test_what_json_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint({"score_threshold": float("nan")})


def test_difference_names_each_field_with_both_values():
    new = FIELDS | {"limit": 5, "input": {"min_size_px": 640, "mean": [0.1, 0.2]}, "engine": "x"}
    del new["score_threshold"]
    assert explain_difference(FIELDS, new) == (
        'engine: absent in the run, "x" now; '
        "input.min_size_px: 800 in the run, 640 now; "
        "limit: null in the run, 5 now; "
        "score_threshold: 0.05 in the run, absent now"
    )


def test_equal_fields_differ_in_nothing():
    assert explain_difference(FIELDS, dict(reversed(FIELDS.items()))) == ""


def test_tuple_and_list_are_one_thing_as_they_are_in_json():
    assert explain_difference({"a": (1, 2)}, {"a": [1, 2]}) == ""
    assert fingerprint({"a": (1, 2)}) == fingerprint({"a": [1, 2]})


def test_a_setting_that_an_older_version_did_not_know_differs_only_where_it_is_given():
    assert explain_difference(FIELDS, FIELDS | {"image_column": None}) == ""
    assert explain_difference(FIELDS, FIELDS | {"image_column": "photo"}) == (
        'image_column: absent in the run, "photo" now'
    )
