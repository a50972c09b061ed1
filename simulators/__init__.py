"""Simulated plant: seeded physics behind real protocols, writing down the truth. Never shipped."""
