"""From a run to a SavedModel."""
