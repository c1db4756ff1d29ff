"""Padding: numbers for what is missing. Light, so that data need no network to be read."""

NO_ITEM = -1
"""Padding where an item index could stand."""

NO_MOMENT = 2**63 - 1
"""The moment of recommendation where it is not known: later than every time of the data."""
