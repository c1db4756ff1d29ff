"""Recommenders over item ids, the ones that semantic IDs are judged by."""
