"""Messages of the service, as JSON on the wire; the client reads and writes the same ones."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    StringConstraints,
    model_validator,
)

ItemId = Annotated[StrictStr, StringConstraints(min_length=1, max_length=1000)]
"""An item ID as the catalog has it: a text, even where it looks like a number."""


class _Asked(BaseModel):
    """A part of a request: what the service does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class _Told(BaseModel):
    """A part of an answer: an older client passes over what a newer service adds."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class User(_Asked):
    """A user of a request."""

    history: list[ItemId] = Field(default_factory=list, examples=[["B0001", "B0007"]])
    """IDs of past items, oldest first; may be empty."""

    times: list[StrictInt] | None = None
    """Times of the items of the history, for a network that reads times."""

    moment: StrictInt | None = None
    """The time at which the user is recommended to, for a network that reads times."""

    info: dict[str, StrictStr | StrictInt | None] | None = None
    """What is known of the user by column, for a network that reads columns of users."""

    exclude: list[ItemId] = Field(default_factory=list)
    """IDs of items that this user must not get."""


class Search(_Asked):
    """A search over semantic IDs; what is left out is as the bundle has it."""

    name: Annotated[StrictStr, StringConstraints(pattern="^[a-z0-9-]{1,40}$")]
    """The name of a search, such as "beam", "item-beam" or "ved"."""

    beams: StrictInt | None = Field(None, ge=1)
    """Prefixes kept per level."""

    candidates: StrictInt | None = Field(None, ge=1)
    """Prefixes scored per level (K+)."""

    likelihood_weight: float | None = Field(None, ge=-100, le=100)
    """λ of y + λ · log π."""

    budget: StrictInt | None = Field(None, ge=1, le=1000)
    """Tokens in units of a beam."""

    seed: StrictInt | None = Field(None, ge=0, lt=2**31)
    """For a search that draws, such as "sampling": the same seed gives the same list."""


class Boost(_Asked):
    """A number that is added to the scores of some items: those named, or those that match."""

    items: list[ItemId] | None = None
    """IDs of items."""

    where: dict[str, StrictStr | list[StrictStr]] | None = None
    """Per column of the items a wanted value, or several of which any will do."""

    by: float = Field(ge=-1e6, le=1e6)
    """The number, in the unit of the scores; a negative one takes items down."""

    @model_validator(mode="after")
    def _names_items_in_one_way(self) -> Boost:
        if (self.items is None) == (self.where is None):
            raise ValueError("a boost has either items or where")
        return self


class RecommendRequest(_Asked):
    """Users who ask for lists of the same kind."""

    users: list[User] = Field(min_length=1)
    k: StrictInt = Field(10, ge=1)
    """The longest list wanted."""

    exclude_seen: StrictBool = False
    """Leaves out the items of each user's history."""

    only: list[ItemId] | None = None
    """IDs of the only items that may be recommended; null means all."""

    where: dict[str, StrictStr | list[StrictStr]] | None = None
    """Per column of the items a wanted value, or several of which any will do."""

    boosts: list[Boost] = Field(default_factory=list, max_length=20)
    """Reorder the first 50 items of the search, or `k` if that is more, before the list is cut to
    `k`. They bring no other item into the list."""

    new_places: StrictInt = Field(0, ge=0)
    """The last places of each list, for items that were appended after the training."""

    search: Search | None = None
    """Null takes the search that the bundle recommends by."""

    deadline_ms: float | None = Field(None, gt=0, le=600_000)
    """Milliseconds after which the answer is not needed; the service has its own limit, too."""


class RankedItem(_Told):
    """An item of a list."""

    item_id: str
    title: str | None
    score: float
    is_new: bool
    """Whether the item was appended after the training."""


class UserAnswer(_Told):
    """The list of one user, best item first."""

    items: list[RankedItem]
    score_kind: str
    """The unit of the scores, such as "log_prob"."""

    tokens: int
    """Positions that the network computed after reading the history."""

    unknown: int
    """Items of the history that the catalog lacks."""

    degraded: str | None
    """The cheaper way that was taken for want of time, such as "beam-10" or "popularity"."""

    snapshot: str | None
    """The name of the catalog, the unavailable items and the weights that answered."""


class RecommendResponse(_Told):
    """One answer per user, in their order."""

    answers: list[UserAnswer]


class ExplainRequest(_Asked):
    """A user whose search is to be explained; the fields are those of `RecommendRequest`."""

    user: User
    k: StrictInt = Field(10, ge=1)
    exclude_seen: StrictBool = False
    only: list[ItemId] | None = None
    where: dict[str, StrictStr | list[StrictStr]] | None = None
    search: Search | None = None
    """Null explains a beam of ten."""

    @property
    def as_recommendation(self) -> RecommendRequest:
        """The request for the list of the same search."""
        return RecommendRequest(users=[self.user], **self.model_dump(exclude={"user"}))


class ItemOfId(_Asked):
    """An item that is asked for by its ID."""

    item_id: StrictStr


class ItemsOfWords(_Asked):
    """Items that are asked for by words of their titles."""

    query: StrictStr
    limit: StrictInt


class Ready(_Told):
    """A service that answers."""

    status: Literal["ready"]
    snapshot: str
    """The name of what answers."""


class Searches(_Told):
    """The searches that the bundle has all parts for."""

    own: str | None
    """The search that the bundle recommends by; null where it searches nothing."""

    lists: list[str]
    """Names that `search` of a request may have."""

    trees: list[str]
    """Names of searches that can be explained."""


class TreeNode(_Told):
    """A prefix of codes that a search looked at."""

    node: int
    parent: int | None
    """The node one code shorter; null for the root."""

    code: int | None
    depth: int
    score: float
    """The score by which the search ranks the prefixes of one depth."""

    log_prob: float
    rank: int | None
    """The place among the prefixes of this depth that the search looked at, from 1."""

    fate: Literal["expanded", "kept", "pruned", "unproposed"]
    num_items: int
    """Items below the prefix that the list may hold."""

    words: list[str]
    """Titles of the most popular items below."""


class ExplainResponse(_Told):
    """The search tree of one user: the best leaves, the ways to them, what was dropped there."""

    search: str
    score_kind: str
    num_levels: int
    num_proposed: int
    """Prefixes that the search looked at, of which `nodes` holds the most telling ones."""

    nodes: list[TreeNode]


class CatalogItem(_Told):
    """An item of the catalog."""

    item_id: str
    title: str | None
    texts: dict[str, str | None]
    semantic_id: list[int]
    is_available: bool
    """Whether lists may hold the item."""


class ItemsResponse(_Told):
    """Items whose title holds the query."""

    items: list[CatalogItem]


class TitledItem(_Told):
    """An item of a history."""

    item_id: str
    title: str | None


class Example(_Told):
    """The history of a user of a dataset."""

    items: list[TitledItem]
    """Oldest first; without items that the catalog lacks."""


class Examples(_Told):
    """Histories to try; none where the service was started without a dataset."""

    examples: list[Example]


class Availability(_Asked):
    """Items that leave all lists, and items that may come back."""

    unavailable: list[ItemId] = Field(default_factory=list)
    available: list[ItemId] = Field(default_factory=list)


class Reload(_Asked):
    """A bundle to load."""

    bundle: Annotated[StrictStr, StringConstraints(min_length=1, max_length=255)] | None = None
    """The name of a folder beside the bundle of the start; null loads the bundle of now again."""


class ServiceState(_Told):
    """The bundle and the number of items by which the service answers."""

    bundle: str
    """The name of the bundle's folder."""

    generation: int
    """Grows with every reload."""

    num_unavailable: int


class Problem(BaseModel):
    """A refusal (RFC 9457, application/problem+json)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str | None = None
    errors: list[dict[str, Any]] | None = None
    """Per mistake in the body its place and a sentence."""
