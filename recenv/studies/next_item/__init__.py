"""Study of next-item prediction: ranking of the next liked film, and calibration."""
