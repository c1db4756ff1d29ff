"""Tokenizer: item vectors to semantic IDs; collisions; published semantic IDs."""
