"""From prepared data to a run."""
