"""The paper's experiments: their definitions, the grids of runs they ask for, and a runner that can be stopped."""
