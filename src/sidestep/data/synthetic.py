"""A synthetic shop: a small dataset whose true next-item probabilities are known.

The shop is a grid: departments, each with some kinds of items and some series of a brand, and one
item for every kind and series of a department. A user's next item is drawn from

    p(i | h)  ∝  [i not in h] · ( c · [i is the complement of the last item]
                                + t · taste(kind of i | h) · popularity(i | kind of i)
                                + (1 - c - t) · popularity(i) )

The complement of an item is the same series in the next kind ("Norvik Alpine tent" ->
"Norvik Alpine sleeping bag"). Taste follows the items that the user has bought; recent items weigh
more. Popularity follows Zipf's law. The first item follows popularity alone. p depends only on the
history, so the best possible recommender is known and can be evaluated. The texts name the series
and the kind, so a model that reads the texts can guess complements it has never seen.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field, model_validator

from sidestep.data.dataset import Dataset
from sidestep.data.interactions import Interactions
from sidestep.data.items import ItemTable
from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch

CELLS_AT_ONCE = 1 << 22
SECONDS_PER_DAY = 86_400
FIRST_DAY = 18_262
"""2020-01-01, in days since 1970."""
NUM_DAYS = 730


class SyntheticShopConfig(BaseModel):
    """Configuration of a synthetic shop: its size, and how its users choose."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_users: int = Field(2000, ge=1)
    num_departments: int = Field(6, ge=1, le=8)
    kinds_per_department: int = Field(5, ge=2, le=6)
    items_per_kind: int = Field(20, ge=1)
    """Series per department. Each kind of the department has one item of every series."""
    min_length: int = Field(5, ge=1)
    mean_length: float = Field(9.0, ge=1)
    """Mean number of interactions per user, before `max_length` cuts histories off."""
    max_length: int = Field(40, ge=1)
    complement_share: float = Field(0.25, ge=0, lt=1)
    """c: probability that the complement of the last item decides."""
    taste_share: float = Field(0.65, ge=0, lt=1)
    """t: probability that taste decides; otherwise popularity decides."""
    taste_decay: float = Field(0.8, gt=0, le=1)
    """Factor on the weight of a purchase in a user's taste after each further purchase."""
    sibling_share: float = Field(0.1, ge=0, le=1)
    """Share of a purchase's weight that goes to the other kinds of its department."""
    zipf_exponent: float = Field(0.9, ge=0)
    """Popularity is proportional to the rank to the power of minus this exponent."""

    @property
    def num_kinds(self) -> int:
        """Number of kinds of all departments."""
        return self.num_departments * self.kinds_per_department

    @property
    def num_items(self) -> int:
        """Number of items of the shop."""
        return self.num_kinds * self.items_per_kind

    @model_validator(mode="after")
    def _check(self) -> "SyntheticShopConfig":
        if self.complement_share + self.taste_share >= 1:
            raise ValueError(
                "complement_share + taste_share must be below 1, so that every item is possible."
            )
        if not self.min_length <= self.mean_length <= self.max_length:
            raise ValueError("mean_length must lie between min_length and max_length.")
        if self.max_length > self.num_items:
            raise ValueError(
                f"max_length {self.max_length} is more than the {self.num_items} items; nobody "
                "buys an item twice."
            )
        return self


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroundTruth:
    """The true probabilities of a shop; see the formula above.

    popularity: probability of each item when popularity alone decides; sums to one.
    kind_of: the kind of each item.
    complement_of: the complement of each item.
    affinity: taste for every kind that a purchase of each kind gives; rows sum to one.
    """

    popularity: Float[np.ndarray, " items"]
    kind_of: Int[np.ndarray, " items"]
    complement_of: Int[np.ndarray, " items"]
    affinity: Float[np.ndarray, "kinds kinds"]
    complement_share: float
    taste_share: float
    taste_decay: float

    def next_item_probs(self, histories: HistoryBatch) -> Float[np.ndarray, "users items"]:
        """Probability of every item to be each user's next item; zero for past items.

        The probability is exact for whole histories. If a history was cut, its oldest items are
        unknown, and the probability is only that of the rest.
        """
        items, lengths = histories.items.cpu().numpy(), histories.lengths.cpu().numpy()
        users = np.arange(len(items))
        is_past = np.arange(items.shape[1]) < lengths[:, None]  # [users, positions]
        past = np.where(is_past, items, 0)

        age = lengths[:, None] - 1 - np.arange(items.shape[1])
        weights = np.where(is_past, self.taste_decay ** np.maximum(age, 0), 0.0)
        bought = np.zeros((len(items), len(self.affinity)))
        np.add.at(bought, (users[:, None], self.kind_of[past]), weights)
        taste = bought @ self.affinity  # [users, kinds]
        taste /= np.maximum(taste.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)

        of_kind = np.bincount(self.kind_of, self.popularity, len(self.affinity))
        within_kind = self.popularity / of_kind[self.kind_of]
        rest = 1 - self.complement_share - self.taste_share
        probs = self.taste_share * taste[:, self.kind_of] * within_kind + rest * self.popularity
        known = users[lengths > 0]
        last = past[known, lengths[known] - 1]
        probs[known, self.complement_of[last]] += self.complement_share
        rows, columns = np.nonzero(is_past)
        probs[users[rows], items[rows, columns]] = 0.0
        return np.asarray(probs / probs.sum(axis=1, keepdims=True))


def synthetic_shop(config: SyntheticShopConfig, seed: int) -> tuple[Dataset, GroundTruth]:
    """Makes a shop and its true probabilities. Equal arguments give equal shops.

    The truth uses the item indices of the dataset. Timestamps are in seconds, but are whole days,
    as those of Amazon. So timestamps of a user may be equal; the order of the rows is the true one.

    Raises:
        ValueError: if the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}.")
    generator = np.random.default_rng(seed)
    truth = _truth(config, generator)
    items = _item_table(config, generator)
    lengths = _lengths(config, generator)
    sequences = _sequences(config, truth, lengths, generator)  # [users, max_length]
    is_bought = sequences != NO_ITEM
    user = np.nonzero(is_bought)[0]
    first_day = FIRST_DAY + generator.integers(NUM_DAYS, size=(config.num_users, 1))
    gaps = generator.geometric(0.1, size=sequences.shape) - 1  # days; one in ten is the same day
    days = first_day + np.cumsum(gaps, axis=1)
    interactions = Interactions.from_columns(
        user_ids=pl.Series(user).cast(pl.String).str.replace("^", "user-"),
        item_ids=items.frame["item_id"].gather(sequences[is_bought]),
        timestamps=pl.Series(days[is_bought] * SECONDS_PER_DAY, dtype=pl.Int64),
        events=["purchase"] * len(user),
    )
    origin = f"{config.model_dump_json()} {seed}"
    dataset = Dataset(
        interactions=interactions,
        items=items,
        name="synthetic",
        sources={"synthetic": hashlib.sha256(origin.encode()).hexdigest()},
    )
    return dataset, truth


def _truth(config: SyntheticShopConfig, generator: np.random.Generator) -> GroundTruth:
    # Items run over departments, then kinds, then series.
    shape = (config.num_departments, config.kinds_per_department, config.items_per_kind)
    index = np.arange(config.num_items).reshape(shape)
    rank = 1 + generator.permutation(config.num_items)
    popularity = rank**-config.zipf_exponent

    department = np.arange(config.num_kinds) // config.kinds_per_department
    is_sibling = (department[:, None] == department) & ~np.eye(config.num_kinds, dtype=bool)
    affinity = (1 - config.sibling_share) * np.eye(config.num_kinds)
    affinity += config.sibling_share * is_sibling / is_sibling.sum(axis=1, keepdims=True)
    return GroundTruth(
        popularity=popularity / popularity.sum(),
        kind_of=np.arange(config.num_items) // config.items_per_kind,
        complement_of=np.roll(index, -1, axis=1).reshape(-1),
        affinity=affinity,
        complement_share=config.complement_share,
        taste_share=config.taste_share,
        taste_decay=config.taste_decay,
    )


def _lengths(
    config: SyntheticShopConfig, generator: np.random.Generator
) -> Int[np.ndarray, " users"]:
    mean_more = config.mean_length - config.min_length
    more = generator.geometric(1 / (1 + mean_more), size=config.num_users) - 1
    return np.minimum(config.min_length + more, config.max_length)


def _sequences(
    config: SyntheticShopConfig,
    truth: GroundTruth,
    lengths: Int[np.ndarray, " users"],
    generator: np.random.Generator,
) -> Int[np.ndarray, "users positions"]:
    """Draws every user's items, in order, from the probabilities of the truth."""
    chances = generator.random((config.num_users, config.max_length))
    sequences = np.full((config.num_users, config.max_length), NO_ITEM)
    users_at_once = max(1, CELLS_AT_ONCE // config.num_items)
    for position in range(lengths.max()):
        buying = np.flatnonzero(lengths > position)
        for users in np.split(buying, range(users_at_once, len(buying), users_at_once)):
            histories = HistoryBatch(
                items=torch.from_numpy(sequences[users, :position]),
                lengths=torch.full((len(users),), position),
            )
            reached = np.cumsum(truth.next_item_probs(histories), axis=1)
            # The last entry of `reached` is one, except for rounding errors.
            drawn = chances[users, position, None] * reached[:, -1:]
            sequences[users, position] = (reached <= drawn).sum(axis=1)
    return sequences


def _item_table(config: SyntheticShopConfig, generator: np.random.Generator) -> ItemTable:
    departments = list(_DEPARTMENTS)[: config.num_departments]
    brands = _brands(
        config.num_departments * -(-config.items_per_kind // _LINES_PER_BRAND), generator
    )
    rows: list[dict[str, str]] = []
    for department in departments:
        kinds, materials, uses = _DEPARTMENTS[department]
        series: list[tuple[str, str]] = []
        while len(series) < config.items_per_kind:
            brand = brands.pop()
            lines = generator.permutation(_LINES)[:_LINES_PER_BRAND]
            series += [(brand, str(line)) for line in lines]
        for kind in kinds[: config.kinds_per_department]:
            for brand, line in series[: config.items_per_kind]:
                looks, feature = generator.choice(_LOOKS), generator.choice(_FEATURES)
                material, use = generator.choice(materials), generator.choice(uses)
                rows.append(
                    {
                        "item_id": f"item-{len(rows)}",
                        "title": f"{brand} {line} {kind}",
                        "description": f"A {looks} {kind.lower()} of {material} for {use}. "
                        f"{feature} Part of the {line} series by {brand}.",
                        "brand": brand,
                        "categories": f"{department},{kind}",
                    }
                )
    return ItemTable(pl.DataFrame(rows))


def _brands(num_brands: int, generator: np.random.Generator) -> list[str]:
    """Distinct invented names."""
    names: dict[str, None] = {}
    while len(names) < num_brands:
        num_middles = 1 + len(names) // 500  # longer names when few short ones are left
        parts = [generator.choice(_STARTS), *generator.choice(_MIDDLES, num_middles)]
        names["".join([*parts, generator.choice(_ENDS)])] = None
    return list(names)


_LINES_PER_BRAND = 4
_STARTS = ("Bel", "Cor", "Dar", "Fen", "Gal", "Hal", "Jor", "Kes", "Lum", "Mar", "Nor", "Or")
_MIDDLES = ("a", "e", "i", "o", "ani", "emo", "iva", "oli", "ura")
_ENDS = ("dor", "fel", "lia", "mont", "nix", "ra", "sen", "tek", "vik", "wen")
_LINES = (
    "Alpine", "Amber", "Arctic", "Atlas", "Aurora", "Bamboo", "Breeze", "Canyon", "Cedar",
    "Classic", "Cobalt", "Coral", "Delta", "Ember", "Falcon", "Forest", "Glacier", "Granite",
    "Harbor", "Heron", "Indigo", "Juniper", "Lagoon", "Lunar", "Meadow", "Metro", "Nimbus",
    "Oasis", "Orchid", "Pebble", "Prairie", "Quartz", "River", "Sahara", "Sierra", "Solar",
    "Summit", "Tundra", "Velvet", "Zephyr",
)  # fmt: skip
_LOOKS = (
    "bright", "compact", "durable", "elegant", "featherlight", "handy", "plain", "robust",
    "slim", "soft", "sturdy", "well made",
)  # fmt: skip
_FEATURES = (
    "Easy to clean.",
    "Comes with a small bag.",
    "Tested for ten years of use.",
    "Made to be repaired.",
    "Folds away when not needed.",
    "Two years of warranty.",
    "Ships without plastic.",
    "A favourite gift.",
)
_DEPARTMENTS = {
    "Outdoor": (
        ("Tent", "Sleeping Bag", "Camping Stove", "Backpack", "Headlamp", "Water Filter"),
        ("ripstop nylon", "aluminium", "recycled polyester", "titanium"),
        ("long hikes", "weekends in the mountains", "rainy nights", "winter camping"),
    ),
    "Kitchen": (
        ("Chef Knife", "Cutting Board", "Saucepan", "Kettle", "Mixing Bowl", "Spice Rack"),
        ("stainless steel", "cast iron", "beech wood", "enamel"),
        ("family dinners", "quick breakfasts", "baking on Sundays", "small kitchens"),
    ),
    "Beauty": (
        ("Face Cream", "Shampoo", "Lip Balm", "Hand Soap", "Perfume", "Hair Brush"),
        ("shea butter", "rose oil", "green tea", "sea minerals"),
        ("dry skin", "every morning", "sensitive skin", "cold days"),
    ),
    "Toys": (
        ("Puzzle", "Building Set", "Board Game", "Plush Animal", "Model Train", "Kite"),
        ("painted wood", "thick cardboard", "soft cotton", "safe plastic"),
        ("curious children", "rainy afternoons", "birthday parties", "the whole family"),
    ),
    "Garden": (
        ("Watering Can", "Pruning Shears", "Planter", "Garden Hose", "Bird Feeder", "Rake"),
        ("zinc", "terracotta", "ash wood", "forged steel"),
        ("balconies", "rose beds", "vegetable patches", "old orchards"),
    ),
    "Office": (
        ("Notebook", "Fountain Pen", "Desk Lamp", "Paper Tray", "Stapler", "Wall Calendar"),
        ("recycled paper", "brushed brass", "matt steel", "cork"),
        ("long meetings", "a tidy desk", "students", "working at home"),
    ),
    "Sports": (
        ("Yoga Mat", "Dumbbell", "Running Shoe", "Jump Rope", "Water Bottle", "Gym Towel"),
        ("natural rubber", "cotton", "neoprene", "mesh fabric"),
        ("beginners", "daily training", "morning runs", "the gym"),
    ),
    "Music": (
        ("Guitar String", "Drum Stick", "Music Stand", "Metronome", "Guitar Strap", "Tuner"),
        ("nickel", "hickory", "leather", "maple"),
        ("first lessons", "the stage", "quiet practice", "street concerts"),
    ),
}
"""Department -> kinds in the order in which they complement one another, materials, uses."""
