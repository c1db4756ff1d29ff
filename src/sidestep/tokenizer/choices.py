"""Ways to choose among that the command line names: to read one needs no SciPy."""

from typing import Literal

CollisionPolicy = Literal["reassign", "extra", "none"]
"""What becomes of items with one semantic ID. `reassign` gives them other last codes, so that every
item has a semantic ID of its own; `extra` appends a level that numbers the items of each bucket;
`none` keeps buckets."""


FullGroupPolicy = Literal["refuse", "share"]
"""Where a prefix has no free last code left: an error, or the nearest code, shared."""
