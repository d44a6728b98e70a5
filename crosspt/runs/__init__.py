"""Commands over a run, and grids of runs."""
