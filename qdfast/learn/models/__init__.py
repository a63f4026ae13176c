"""Neural networks (Keras), baselines (scikit-learn) and calibration. Nothing here imports the packages beside it."""
