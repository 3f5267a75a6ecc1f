"""Reports against truth: metrics, intervals, calibration."""
