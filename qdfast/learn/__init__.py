"""Training, evaluation and export of doodle classifiers; Keras is imported by the modules that need it."""

from .._quiet import lower_log_level

lower_log_level()
