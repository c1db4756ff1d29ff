"""Evaluation: runs recommenders over a split, stores the results, compares and shows them."""
