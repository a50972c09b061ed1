"""Verbs of ``edge-agent`` that stand in files of their own; each registers itself in ``cli``."""
