"""Measures of ranked lists and what they are worth: pure functions of arrays."""
