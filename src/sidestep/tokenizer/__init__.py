"""Tokenizers: turn item vectors into semantic IDs; collisions; published semantic IDs."""
