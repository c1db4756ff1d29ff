"""Embedding: item texts, training sequences or given files to one vector per item."""
