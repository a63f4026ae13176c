"""What a run is worth: the figures and the report."""
