"""Choices about bundles, which commands offer; reading this module needs no torch."""

from typing import Literal

NewRows = Literal["siblings", "zeros"]
"""The row that a new item gets: the mean of its siblings' rows, or zeros.

A tied item head adds the vectors of the item's codes to either.
"""
