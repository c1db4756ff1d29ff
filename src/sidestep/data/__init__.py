"""Data: interactions, item texts, histories, splits and batches, all that precedes a model."""
