"""Metrics of ranked lists, of prefixes and of semantic IDs: pure functions of arrays."""
