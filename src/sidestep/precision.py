"""The precision in which the layers of a network compute a search."""

from typing import Literal

Precision = Literal["fp32", "bf16"]
"""With bf16, products of matrices are rounded; the weights stay as they are."""
