"""How sure the numbers are: resamples, intervals, and two runs compared."""
