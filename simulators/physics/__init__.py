"""Seeded physics that records the truth."""
