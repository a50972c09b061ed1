"""Samples to records, events and batches; owns the calculation state."""

from edge_agent.pipeline.pipeline import Pipeline, Produce

__all__ = ["Pipeline", "Produce"]
