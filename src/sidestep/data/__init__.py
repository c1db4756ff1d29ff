"""Interactions, item texts, histories, splits and batches: everything before the first model."""
