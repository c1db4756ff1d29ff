"""Sidestep: generative recommendation with semantic IDs, searched step by step."""

__version__ = "0.1.0"
