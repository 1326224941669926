"""Model, data, settings and software of a run, and whether the run is complete."""

from __future__ import annotations

from jobs.html import formats
from jobs.html.section import Section
from jobs.rundir.directory import RunDirectory
from jobs.rundir.metrics_json import Metrics
from jobs.rundir.proof import Proof
from jobs.rundir.record import RunRecord

_Facts = list[tuple[str, str]]
_MAX_PROBLEMS = 20


def provenance_section(
    run: RunDirectory, record: RunRecord, proof: Proof, metrics: Metrics | None
) -> Section:
    """Model, data, settings, completeness, software and device."""
    return Section(
        name="provenance",
        title="Provenance",
        lead="Everything the results depend on. The same model, settings and data give the same "
        "digest on the same kind of device.",
        data={
            "groups": [
                ("Model", _model(record)),
                ("Data", _data(run, record, metrics)),
                ("Settings", _settings(record)),
                ("Completeness", _completeness(proof)),
                ("Software and device", _software(record)),
            ],
            "problems": [formats.text(problem) for problem in proof.problems[:_MAX_PROBLEMS]],
            "num_more_problems": max(0, len(proof.problems) - _MAX_PROBLEMS),
        },
    )


def _model(record: RunRecord) -> _Facts:
    named = [category for category in record.categories if category.name != "N/A"]
    return [
        ("preset", record.preset),
        ("weights", formats.text(record.config.get("weights", ""))),
        ("SHA-256 of the weights", record.weights_sha256),
        ("classes", formats.count(len(named))),
    ]


def _data(run: RunDirectory, record: RunRecord, metrics: Metrics | None) -> _Facts:
    inputs = record.config.get("inputs") or ()
    facts = [("run", formats.text(run.uri))]
    facts += [("input", formats.text(uri)) for uri in list(inputs)[:3]]
    if len(inputs) > 3:  # noqa: PLR2004
        facts.append(("number of inputs", formats.count(len(inputs))))
    if metrics is not None:
        facts.append(("annotations", formats.text(metrics.annotations)))
        facts.append(("SHA-256 of the annotations", metrics.annotations_sha256))
    return facts


def _settings(record: RunRecord) -> _Facts:
    chosen = {"score_threshold": record.config.get("score_threshold"), **record.settings}
    return [
        (key.replace("_", " "), formats.text(value))
        for key, value in chosen.items()
        if value is not None
    ]


def _software(record: RunRecord) -> _Facts:
    facts = [
        ("device", formats.text(record.device)),
        ("started", f"{record.created_at:%Y-%m-%d %H:%M} UTC"),
        ("run id", formats.text(record.run_id)),
    ]
    return facts + [(name, formats.text(version)) for name, version in record.versions.items()]


def _completeness(proof: Proof) -> _Facts:
    return [
        ("planned", formats.count(proof.planned)),
        ("processed", formats.count(proof.ok)),
        ("quarantined", formats.count(proof.quarantined)),
        ("missing", formats.count(proof.missing)),
        ("duplicated", formats.count(proof.duplicated)),
        ("digest", proof.digest or "none: the run is not complete"),
        ("digest class", proof.digest_class),
    ]
