"""Training, evaluation and export of doodle classifiers; Keras is imported by the modules that need it."""

import os

# TensorFlow reads this once, when it is first imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
