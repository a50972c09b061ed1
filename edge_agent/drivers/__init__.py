"""Drivers: one protocol a file."""
