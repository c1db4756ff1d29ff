"""Descriptions of searches: one `SearchSpec` per search, for every command and training.

A new search is a policy in a file of its own and an entry of `SPECS`. A user's own search needs no
entry: its import path names it, and its class gives its spec. Reading specs needs no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, cast, get_args

from sidestep.import_paths import imported, is_import_path, own_name
from sidestep.search.budget import Budget

Value = int | float | str | None
"""A value of a setting of a search."""

SharedSetting = Literal["beams", "candidates", "likelihood_weight", "budget"]
"""A setting that has one name for all searches, whatever the field of the policy is called."""

Guide = Literal["items", "process-reward", "values", "categories", "vectors", "scorer"]
"""The part that a search goes by, beside likelihood.

items: the network's item head, a ranker beside the network, or both.
process-reward: the process reward model.
values: the value head.
categories: the network's category head.
vectors: the network's vectors of items.
scorer: a user's own scorer of prefixes, which the option `scorer` names by its import path.
"""

Fitted = Callable[[int, int, int], Mapping[str, Value]]
"""A function that fits a search into a budget.

Its arguments are K, k and L: the budget is k times the tokens of a beam of K over L levels. It
returns the options of the search.

Raises:
    ValueError: the budget is too small for the search.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpec:
    """Description of a search.

    name: the name on the command line and in results; of a user's own search the import path.
    policy: the import path of the class, a dataclass with a method `search`.
    options: further settings that may be given by name, with their defaults.
    reads: the shared settings that the search reads; a search with a budget also reads beams.
    per_level: whether candidates and λ may differ from level to level.
    goes_by: the part that guides the search; None where likelihood alone decides.
    takes_ranker: of a search by items: whether a ranker beside the network may score them, too.
    ceiling: the search that ranks every item by the score of this search; None where there is none.
    grows: the shared setting that grows with a budget; None for a search without a budget.
    fitted: see `Fitted`; None where every budget is large enough.
    quick: options with which the search takes a fraction of the time and finds about as much.
    needs: what the code space must offer beyond a walk. `trie`: facts that only a trie tells.
        `ways`: the way to each item before the walk, which a trie and code sets tell.
        `items`: the items beyond each state, which a trie and code sets tell. `features`: a
        description of each state, which a trie and code sets give. `sets`: code sets. None:
        nothing, so that the search walks any space.
    """

    name: str
    policy: str
    options: Mapping[str, Value] = field(default_factory=dict)
    reads: frozenset[SharedSetting] = frozenset()
    per_level: bool = True
    goes_by: Guide | None = None
    takes_ranker: bool = True
    ceiling: str | None = None
    grows: SharedSetting | None = None
    fitted: Fitted | None = None
    quick: Mapping[str, Value] = field(default_factory=dict)
    needs: Literal["trie", "ways", "items", "features", "sets"] | None = None

    @property
    def is_own(self) -> bool:
        """Whether the search is a user's own."""
        return is_import_path(self.name)

    @property
    def method(self) -> str:
        """The name in tables."""
        return own_name(self.name.rpartition(":")[2]) if self.is_own else self.name

    @property
    def is_plain(self) -> bool:
        """Whether settings alone make the search, so that a training may search by it.

        The model itself gives values, if the search goes by values.
        """
        return (self.is_own or self.grows is not None) and self.goes_by in (None, "values")

    def policy_class(self) -> type[Any]:
        """The class of the policy; the first call may import torch.

        Raises:
            ValueError: the class of a user's own search cannot be imported.
        """
        return cast(type[Any], imported(self.policy))


_LEGAL: Mapping[str, Value] = {"normaliser": "legal"}
_GUIDED: frozenset[SharedSetting] = frozenset({"beams", "candidates", "likelihood_weight"})
_BEAMS: frozenset[SharedSetting] = frozenset({"beams"})
_WEIGHED: frozenset[SharedSetting] = frozenset({"likelihood_weight"})
_GUIDED_BEAM = "sidestep.search.guided_beam:GuidedBeamSearch"
_EXHAUSTIVE = "sidestep.search.exhaustive:ExhaustiveSearch"
_WARM_WIDTH = 8


def _fitted_warm_start(beams: int, times: int, num_levels: int) -> Mapping[str, Value]:
    """A warm start of value-guided decoding that leaves at least one token to search with."""
    tokens = Budget(times=times, num_beams=beams).tokens(num_levels)
    widest = (tokens - 2) // num_levels
    if widest < 1:
        raise ValueError(
            f"--beams {beams}: ved needs at least {num_levels + 2} tokens of {num_levels} codes, "
            f"and a beam as wide spends {tokens}; raise --beams, or leave ved out of --searches."
        )
    width = min(widest, beams)
    return {"warm_width": width} if width < _WARM_WIDTH else {}


SPECS: Mapping[str, SearchSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            SearchSpec(
                name="beam",
                policy="sidestep.search.beam:BeamSearch",
                options={**_LEGAL, "codes_per_step": 1, "single_steps": 4},
                reads=_BEAMS,
                ceiling="exhaustive",
                grows="beams",
            ),
            SearchSpec(
                name="diverse-beam",
                policy="sidestep.search.diverse_beam:DiverseBeamSearch",
                options={"penalty": 0.5, "shared_codes": 1, **_LEGAL},
                reads=frozenset({"beams", "candidates"}),
                per_level=False,
            ),
            SearchSpec(
                name="beam-fusion",
                policy="sidestep.search.beam_fusion:BeamFusion",
                options={"tau": 1.0, "psi": 1.0, "among": "all", **_LEGAL},
                reads=_BEAMS,
                needs="trie",
            ),
            SearchSpec(
                name="item-beam",
                policy=_GUIDED_BEAM,
                options=_LEGAL,
                reads=_GUIDED,
                goes_by="items",
                ceiling="exhaustive-item",
                grows="candidates",
                needs="items",
            ),
            SearchSpec(
                name="prm-beam",
                policy=_GUIDED_BEAM,
                options=_LEGAL,
                reads=_GUIDED,
                goes_by="process-reward",
                ceiling="exhaustive-prm",
                grows="candidates",
                needs="features",
            ),
            SearchSpec(
                name="value-beam",
                policy="sidestep.search.value_beam:ValueBeamSearch",
                options=_LEGAL,
                reads=_GUIDED,
                per_level=False,
                goes_by="values",
                grows="candidates",
            ),
            SearchSpec(
                name="ved",
                policy="sidestep.search.ved:ValueGuidedDecoding",
                options={
                    "warm_width": _WARM_WIDTH,
                    "exploration": 0.1,
                    "entropy_weight": 0.1,
                    "value_weight": 1.0,
                    "answer_likelihood_weight": 0.0,
                    "root_gate": "priority",
                    "paths_per_round": 1,
                    "seed": 0,
                    **_LEGAL,
                },
                reads=frozenset({"beams", "budget"}),
                goes_by="values",
                grows="budget",
                fitted=_fitted_warm_start,
                quick={"paths_per_round": 8},
            ),
            SearchSpec(
                name="sampling",
                policy="sidestep.search.sampling:Sampling",
                options={"seed": 0, "temperature": 1.0, "top_k": None, "top_p": None, **_LEGAL},
                reads=_BEAMS,
                ceiling="exhaustive",
                grows="beams",
            ),
            SearchSpec(
                name="order-mixture",
                policy="sidestep.search.order_mixture:OrderMixture",
                options={"num_orders": 4, "seed": 0, **_LEGAL},
                reads=_BEAMS,
                needs="sets",
            ),
            SearchSpec(
                name="reg4rec",
                policy="sidestep.search.reflective_beam:ReflectiveBeamSearch",
                options={"threshold": 0.06, "every": 1, **_LEGAL},
                reads=frozenset({"beams", "candidates"}),
                per_level=False,
                goes_by="categories",
            ),
            SearchSpec(
                name="guided-beam",
                policy=_GUIDED_BEAM,
                options={"scorer": None, **_LEGAL},
                reads=_GUIDED,
                goes_by="scorer",
                ceiling="exhaustive-guided",
            ),
            SearchSpec(name="exhaustive", policy=_EXHAUSTIVE, options=_LEGAL, needs="ways"),
            SearchSpec(
                name="exhaustive-item",
                policy=_EXHAUSTIVE,
                options=_LEGAL,
                reads=_WEIGHED,
                goes_by="items",
                needs="ways",
            ),
            SearchSpec(
                name="exhaustive-prm",
                policy=_EXHAUSTIVE,
                options=_LEGAL,
                reads=_WEIGHED,
                goes_by="process-reward",
                needs="ways",
            ),
            SearchSpec(
                name="exhaustive-guided",
                policy=_EXHAUSTIVE,
                options={"scorer": None, **_LEGAL},
                reads=_WEIGHED,
                goes_by="scorer",
                needs="ways",
            ),
            SearchSpec(
                name="item-head",
                policy="sidestep.search.item_ranking:ItemRanking",
                goes_by="items",
                needs="items",
            ),
            SearchSpec(
                name="grounded",
                policy="sidestep.search.grounded:GroundedSearch",
                reads=_BEAMS,
                goes_by="vectors",
                needs="items",
            ),
            SearchSpec(
                name="item-index",
                policy="sidestep.search.item_index:ItemIndex",
                options={"pages": 48, "refined": 72, "page_size": None, "seed": 0},
                ceiling="item-head",
                goes_by="items",
                takes_ranker=False,
                needs="trie",
            ),
        )
    }
)
"""The searches of Sidestep, by name."""


def spec_named(name: str) -> SearchSpec:
    """The spec of a search, by its name or by the import path of a user's own class.

    Raises:
        ValueError: there is no such search; says which there are.
    """
    if is_import_path(name):
        return _spec_of_own(name)
    if name not in SPECS:
        raise ValueError(
            f"{name!r:.60}: there are {', '.join(SPECS)}, and your own by import path, such as "
            "my_package.my_module:MySearch."
        )
    return SPECS[name]


def reading(setting: SharedSetting) -> list[str]:
    """The names of the searches that read a shared setting."""
    return [spec.name for spec in SPECS.values() if setting in spec.reads]


def _spec_of_own(path: str) -> SearchSpec:
    """The spec of a user's own class.

    A field `guidance` gets the scorer of the part that the class attribute `goes_by` names, else
    the scorer that the option `scorer` names. The search reads the shared settings that it has
    fields for; every other field is an option.
    """
    found = imported(path)
    is_class = isinstance(found, type) and dataclasses.is_dataclass(found)
    if not is_class or not callable(getattr(found, "search", None)):
        raise ValueError(
            f"{path}: is no search; name a dataclass with a name and a method 'search', see "
            "sidestep.search.policy.SearchPolicy."
        )
    defaults = {each.name: each.default for each in dataclasses.fields(found)}
    guide: Guide | None = "scorer" if "guidance" in defaults else None
    goes_by: Guide | None = getattr(found, "goes_by", guide)
    options: dict[str, Value] = {
        name: None if default is dataclasses.MISSING else default
        for name, default in defaults.items()
        if name not in _OWN_FIELDS
    }
    if goes_by is not None and goes_by not in get_args(Guide):
        raise ValueError(
            f"{path}: goes_by is {goes_by!r:.60}; name one of {', '.join(get_args(Guide))}, or "
            "leave it out."
        )
    if goes_by == "scorer":
        options["scorer"] = None
    shared = {_OWN_FIELDS[name] for name in defaults if name in _OWN_FIELDS}
    return SearchSpec(
        name=path,
        policy=path,
        options=options,
        reads=frozenset(setting for setting in shared if setting is not None),
        goes_by=goes_by,
    )


_OWN_FIELDS: Mapping[str, SharedSetting | None] = {
    "name": None,
    "num_leaves": None,
    "num_beams": "beams",
    "candidates": "candidates",
    "likelihood_weight": "likelihood_weight",
    "guidance": "likelihood_weight",
}
"""The fields of a user's own search that are no options, with the shared settings that set them.

None where the class or the length of the lists sets the field.
"""
