"""Embedding: turns item texts, training sequences or given files into one vector per item."""
