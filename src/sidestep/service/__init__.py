"""The HTTP service: a bundle answers requests, in micro-batches, within a deadline."""
