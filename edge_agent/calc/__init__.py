"""Accounting formulas, detectors and integrators: pure functions of their inputs."""
