"""Person detectors: boxes of people in whole frames, each behind the `Detector` protocol."""
