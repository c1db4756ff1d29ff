"""Padding: what stands where there is no item. Light, so that data need no network to be read."""

NO_ITEM = -1
"""Padding where an item index could stand."""
