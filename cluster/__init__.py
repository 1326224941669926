"""Where it runs for real: submission to clusters."""
