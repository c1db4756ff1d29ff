"""Networks of bundles: from a manifest to a network, and from a network to what a bundle keeps."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sidestep.bundle.columns import read_item_columns
from sidestep.catalog.catalog import Catalog
from sidestep.import_paths import imported
from sidestep.model.cobra import Cobra
from sidestep.model.code_set_t5 import CodeSetT5
from sidestep.model.code_set_transformer import CodeSetTransformer
from sidestep.model.item_network import ItemNetwork
from sidestep.model.item_networks import ITEM_NETWORKS
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.stream_rec import StreamRec
from sidestep.model.t5 import T5
from sidestep.model.transformer import Transformer

Network = SemanticIdModel | ItemNetwork

Module = nn.Module
"""Any module whose weights a bundle keeps."""

Weights = Mapping[str, Tensor]
"""Weights by name."""

_QUERY_MIX = "query_mix"
"""The name of the weights that bundles of older schemas lack, see `Transformer.item_queries`."""

_NUMBER_OF_LAYERS = re.compile(r"(num_|n_)?(hidden_|encoder_|decoder_|core_)?(layers?|blocks)")
"""Keys of descriptions, ours and those of Hugging Face."""


_CLASSES: dict[str, type[Network]] = {
    "semantic-id-transformer": Transformer,
    "code-set-transformer": CodeSetTransformer,
    "semantic-id-t5": T5,
    "code-set-t5": CodeSetT5,
    "stream-rec": StreamRec,
    "cobra": Cobra,
    **ITEM_NETWORKS,
}
"""The networks that are made of their configuration and the catalog alone."""


def kind_of(network: Network | None) -> str:
    """The kind of a bundle of this network; without a network, popularity.

    Raises:
        TypeError: a bundle cannot keep such a network.
    """
    if network is None:
        return "popularity"
    for kind, known in _CLASSES.items():
        if type(network) is known:
            return kind
    if hasattr(network, "language_model"):
        return "hugging-face"
    own = type(network)
    if "<" in own.__qualname__ or not hasattr(own, "Config"):
        raise TypeError(
            f"a bundle cannot keep a {own.__name__}: it needs a class attribute Config, and to "
            "stand at the top of a module."
        )
    return f"{own.__module__}:{own.__qualname__}"


def description_of(network: Network | None) -> dict[str, Any]:
    """All that makes the network again but for its weights, as JSON; nothing without a network."""
    if network is None:
        return {}
    if hasattr(network, "language_model"):
        adapter: Any = network  # its class needs the extra `hf`
        description: dict[str, Any] = adapter.description()
        return description
    config: Any = network.config
    dumped: dict[str, Any] = config.model_dump(mode="json")
    return dumped


def build_network(
    kind: str, description: Mapping[str, Any], catalog: Catalog, weights: Mapping[str, Tensor]
) -> Network:
    """The network of a bundle, in `eval` mode and frozen; it has read the columns of the items.

    Raises:
        ValueError: the weights are another network's, the description is none of this kind, or the
            catalog lacks a column that the network reads.
    """
    weights = _completed(description, weights)
    # The weights are loaded at once: what the initialisation draws must not disturb the caller.
    with torch.random.fork_rng(devices=[]):
        refuse_other_shapes(description, lambda: _kept(kind, description, catalog), weights)
        network = _initialised(kind, description, catalog)
    loaded: nn.Module = network
    if kind == "hugging-face":
        assert isinstance(network.language_model, nn.Module)
        loaded = network.language_model
    loaded.load_state_dict(weights)
    read_item_columns(network, catalog)
    network.requires_grad_(requires_grad=False).eval()
    return network


def leave_in_file(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Gives a frozen module the very tensors of its file, in the place of copies with equal values.

    Tensors of safetensors on a CPU are pages of the mapped file: the processes that read one file
    share its pages in memory. A parameter that is no tensor of the file stays a copy.

    Args:
        module: has loaded the weights.
        weights: of the file, by name.
    """
    loaded = getattr(module, "language_model", module)
    for name, parameter in loaded.named_parameters():
        found = weights.get(name)
        if found is not None and found.dtype == parameter.dtype and found.shape == parameter.shape:
            parameter.data = found


def _completed(
    description: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """The weights, with those that bundles of older schemas lack.

    Up to schema 7, items that chose codes were scored at the state of the prefix alone.
    """
    reads_prefixes = description.get("prefix_queries", True)
    by_items = description.get("last_code_head") == "items"
    if by_items and reads_prefixes and _QUERY_MIX not in weights:
        return {**weights, _QUERY_MIX: torch.tensor([0.0, 1.0])}
    return weights


def untrained(network: Network, catalog: Catalog) -> Network:
    """A new network of the shape of another, with fresh weights from torch's random state.

    Args:
        network: gives the shape; of a bundle.
        catalog: of the network.
    """
    return _initialised(kind_of(network), description_of(network), catalog)


def keeps_items(network: SemanticIdModel, kind: str, catalog: Catalog) -> bool:
    """Whether a network would differ in more than its semantic IDs, were it made for a catalog.

    Args:
        network: of a bundle.
        kind: of the bundle.
        catalog: another one; nothing is read of it but numbers.
    """
    if kind == "hugging-face":  # codes are tokens, and items nothing else
        return network.codebook_sizes != catalog.codebook_sizes
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        other = _initialised(kind, description_of(network), catalog)
    return _kept_shapes(network) != _kept_shapes(other)


def _kept_shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shapes of weights and buffers by name, but for semantic IDs."""
    named = [*network.named_parameters(), *network.named_buffers()]
    return {name: tuple(each.shape) for name, each in named if name != "semantic_ids"}


def with_weights(
    description: Mapping[str, Any], make: Callable[[], Module], weights: Weights
) -> Module:
    """A module with the weights of a file, in `eval` mode and frozen.

    Args:
        description, make, weights: see `refuse_other_shapes`.

    Raises:
        ValueError: the weights are another module's.
    """
    # The weights are loaded at once: what the initialisation draws must not disturb the caller.
    with torch.random.fork_rng(devices=[]):
        refuse_other_shapes(description, make, weights)
        module = make()
    module.load_state_dict(dict(weights))
    module.requires_grad_(requires_grad=False).eval()
    return module


def refuse_other_shapes(
    description: Mapping[str, Any], make: Callable[[], nn.Module], weights: Mapping[str, Tensor]
) -> None:
    """Raises a `ValueError` unless the weights are those of a network, before it takes memory.

    Args:
        description: of the network; every layer that it names has weights.
        make: makes the network; it is called where tensors have a shape alone.
        weights: of a file.
    """
    for name, number in _numbers_of_layers(description):
        if number > len(weights):
            raise ValueError(f"{name} is {number:,}, but there are only {len(weights):,} weights")
    with torch.device("meta"):
        wanted = {name: tuple(each.shape) for name, each in make().state_dict().items()}
    found = {name: tuple(each.shape) for name, each in weights.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise ValueError(
                f"{name} is {_shape(found, name)} in the file and {_shape(wanted, name)} in the "
                "network that is described"
            )


def weights_of(network: Network) -> dict[str, Tensor]:
    """The weights as a bundle keeps them: on the CPU, each with memory of its own."""
    kept: Any = network.language_model if kind_of(network) == "hugging-face" else network
    return plain_weights(kept)


def tokenizer_of(network: Network) -> str | None:
    """The tokenizer of a language model, as JSON; None where the network has none."""
    tokenizer: str | None = getattr(network, "tokenizer", None)
    return tokenizer


def plain_weights(module: nn.Module) -> dict[str, Tensor]:
    """The weights of any module, on the CPU, each with memory of its own."""
    return {
        name: weights.detach().cpu().clone().contiguous()
        for name, weights in module.state_dict().items()
    }


def _numbers_of_layers(description: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, int]]:
    """The numbers of layers or blocks that a description names, with the keys that lead there."""
    for key, value in description.items():
        within = f"{name}.{key}" if name else key
        if isinstance(value, Mapping):
            yield from _numbers_of_layers(value, within)
        elif isinstance(value, int) and _NUMBER_OF_LAYERS.fullmatch(key):
            yield within, value


def _shape(shapes: Mapping[str, tuple[int, ...]], name: str) -> str:
    return f"of shape {list(shapes[name])}" if name in shapes else "missing"


def _kept(kind: str, description: Mapping[str, Any], catalog: Catalog) -> nn.Module:
    """A network of which the weights are kept: of a language model, that alone."""
    if kind != "hugging-face":
        return _initialised(kind, description, catalog)
    from sidestep.model.hugging_face import described_model

    language_model: nn.Module = described_model(description)
    return language_model


def _initialised(kind: str, description: Mapping[str, Any], catalog: Catalog) -> Network:
    ids, sizes = catalog.semantic_ids, catalog.codebook_sizes
    if kind == "hugging-face":
        # Only here is the extra `hf` needed.
        from sidestep.model.hugging_face import HuggingFaceModel

        return HuggingFaceModel.from_description(description, ids, sizes)
    made_of: Any = _CLASSES[kind] if kind in _CLASSES else _own(kind)
    config = made_of.Config(**description)
    make: Callable[..., Network] = made_of.of_codes if issubclass(made_of, ItemNetwork) else made_of
    return make(config, ids, sizes)


def _own(kind: str) -> type[Network]:
    """The class of a user's own network."""
    found = imported(kind)
    if not (isinstance(found, type) and issubclass(found, ItemNetwork | SemanticIdModel)):
        raise ValueError(
            f"{kind!r:.80} is no ItemNetwork, no SemanticIdModel and no FittedRecommender"
        )
    return found
