"""Names of policies that the command line offers. Reading them does not import SciPy."""

from typing import Literal

CollisionPolicy = Literal["reassign", "extra", "none"]
"""Policy for items that share a semantic ID. `reassign` gives such items other last codes, so that
every item has a semantic ID of its own; `extra` appends a level that numbers the items of each
bucket; `none` keeps buckets."""


FullGroupPolicy = Literal["refuse", "share"]
"""Policy for a prefix without a free last code. `refuse` raises an error; `share` gives the item
its nearest code, which it shares with other items."""
