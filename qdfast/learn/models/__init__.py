"""The networks and the baselines."""
