"""Runs recommenders over a split, keeps what came out, compares it and shows it."""
