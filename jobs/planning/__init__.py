"""Begin a run or take one up again: defaults, manifest, model card, run.json."""
