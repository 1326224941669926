"""Begin a run or take one up again: settings, defaults, manifest, run.json."""
