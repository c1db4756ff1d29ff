"""Runs: from a dataset to a trained, measured recommender, without a command line."""
