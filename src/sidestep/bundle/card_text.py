"""The text of a card: front matter for the Hugging Face hub, then sections in plain English."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import yaml

from sidestep.bundle.card_facts import CardFacts, CardResult, plain
from sidestep.bundle.parts import PARTS, RANKER, FittedRankerConfig, KeptRanker
from sidestep.import_paths import is_import_path

Form = Literal["bundle", "language-model"]
"""The contents of the folder: a bundle, or what `sidestep export` made of one."""

METHODS = {
    "semantic-id-transformer": "a Transformer that writes the semantic ID of the next item",
    "code-set-transformer": "a Transformer that writes the next item as a set of codes",
    "semantic-id-t5": "a T5 that writes the semantic ID of the next item, as TIGER does",
    "code-set-t5": "a T5 that writes the next item as a set of codes",
    "stream-rec": "STREAM-Rec, a T5 that writes codes of reasoning before the semantic ID",
    "cobra": "COBRA, a Transformer that writes a sparse ID, then the vector of the next item",
    "hugging-face": "a language model that writes the semantic ID of the next item",
    "sasrec": "SASRec, a Transformer over item IDs",
    "hstu": "HSTU, a network over item IDs with attention without softmax",
    "gru4rec": "GRU4Rec, a recurrent network over item IDs",
    "caser": "Caser, a convolutional network over item IDs",
    "bert4rec": "BERT4Rec, a Transformer over item IDs that was trained to fill gaps",
    "rearec": "ReaRec, a SASRec with steps of latent reasoning",
    "lares": "LARES, a network over item IDs with recurrent depth",
    "diffureason": "DiffuReason, a network over item IDs that thinks and then removes noise",
    "rpg": "RPG, a network that predicts all codes of the next item at once",
    "popularity": "popularity: everybody gets the items that most people took",
    "repeats": "repeats: a user's own items first, then popular items",
    "popularity-window": "popularity within a window of time",
    "graph": "a transition graph: it counts which item follows which, and compares item vectors",
}
"""Kinds of bundles in words."""

_WRITES_CODES = frozenset([*METHODS][:7])
"""Kinds whose lists a search over codes makes."""

_TRAINING = {
    "steps": "{:,} steps of the optimizer",
    "best_epoch": "the weights of epoch {}",
    "trials": "settings chosen by {:,} trials on validation",
}
"""Entries of the summary of a training, in words."""


def card_body(
    facts: CardFacts,
    results: Sequence[CardResult] = (),
    *,
    repository: str | None = None,
    license: str | None = None,
    form: Form = "bundle",
) -> str:
    """The text of a card, without the line that tells its origin.

    Args:
        facts: of the bundle.
        results: evaluations of this very bundle; those on test rows should stand first.
        repository: OWNER/NAME on the hub; None where the bundle is not there.
        license: an identifier such as `apache-2.0`; None where nobody has said one.
        form: of the folder.
    """
    title = _title(facts, repository)
    sections = {
        "Data": _data(facts),
        "Method": _method(facts),
        "Metrics": _metrics(results, form),
        "Search": _search(facts, form),
        "Limits": _limits(facts),
        "Use": _use(facts, repository) if form == "bundle" else _use_as_language_model(),
    }
    head = yaml.safe_dump(
        _front_matter(facts, results, title, license, form), sort_keys=False, allow_unicode=True
    )
    lines = ["---", head.rstrip(), "---", "", f"# {title}", "", *_what_it_is(facts, form)]
    for name, content in sections.items():
        lines += ["", f"## {name}", "", *content]
    return "\n".join(lines) + "\n"


def metric_type(name: str) -> str:
    """The name of a metric as the hub writes it: `NDCG@10` is `ndcg_at_10`."""
    return name.lower().replace("hr@", "hit_rate@").replace("@", "_at_")


def _title(facts: CardFacts, repository: str | None) -> str:
    if repository is not None:
        return repository.rpartition("/")[2]
    kind = facts.manifest.kind.rpartition(":")[2]
    return kind if facts.dataset is None else f"{kind} on {facts.dataset}"


def _front_matter(
    facts: CardFacts, results: Sequence[CardResult], title: str, license: str | None, form: Form
) -> dict[str, Any]:
    kind = facts.manifest.kind
    codes = ["generative-recommendation", "semantic-ids"] if kind in _WRITES_CODES else []
    entries: dict[str, Any] = {} if license is None else {"license": license}
    entries["library_name"] = "sidestep" if form == "bundle" else "transformers"
    entries["tags"] = ["sidestep", "recommender-system", *codes]
    if not is_import_path(kind):
        entries["tags"].append(kind)
    if facts.dataset is not None:
        entries["datasets"] = [facts.dataset]
    if results:
        entries["model-index"] = [{"name": title, "results": [_index_entry(r) for r in results]}]
    return entries


def _index_entry(result: CardResult) -> dict[str, Any]:
    lists = "without seen items" if result.excludes_seen else "may hold seen items"
    return {
        "task": {"type": "recommendation", "name": "Next-item recommendation"},
        "dataset": {"name": result.dataset, "type": result.dataset, "split": result.split},
        "metrics": [
            {
                "type": metric_type(name),
                "name": f"{name} ({result.method}, {result.setting}, {lists})",
                "value": round(metric.mean, 6),
                "args": {"interval_95": [round(metric.low, 6), round(metric.high, 6)]},
            }
            for name, metric in result.metrics.items()
        ],
    }


def _what_it_is(facts: CardFacts, form: Form) -> list[str]:
    what = METHODS.get(facts.manifest.kind)
    if what is None:
        what = f"a recommender of the class `{facts.manifest.kind}`"
    data = "" if facts.dataset is None else f" The data set is `{facts.dataset}`."
    lines = [
        f"This is {what}. It takes the history of a user, a list of item IDs with the oldest item "
        f"first, and it ranks the {facts.num_items:,} items that it knows.{data}",
    ]
    if form == "language-model":
        lines += [
            "",
            "The folder holds the language model alone, as `sidestep export` wrote it: the model, "
            "its tokenizer of codes, and the catalog.",
        ]
    return lines


def _data(facts: CardFacts) -> list[str]:
    data, manifest = facts.manifest.data, facts.manifest
    lines = []
    if facts.dataset is None:
        lines.append("- The bundle does not tell on which data it was trained.")
    else:
        lines.append(f"- Data set: `{facts.dataset}`.")
    digest = plain(data.get("interactions"))
    if digest is not None:
        lines.append(f"- SHA-256 of the interactions: `{digest[:16]}`.")
    lines.append(f"- Items: {facts.num_items:,}.")
    if manifest.num_new_items:
        lines.append(f"- Items appended after the training: {manifest.num_new_items:,}.")
    if facts.num_retired:
        lines.append(f"- Retired items, which no list holds: {facts.num_retired:,}.")
    for key, whose in (("user_columns", "users"), ("item_columns", "items")):
        names = manifest.model.get(key)
        known = [name for name in map(plain, names or ()) if name is not None]
        if known:
            lines.append(f"- The network reads these columns of {whose}: {', '.join(known)}.")
    lines.append(
        "- **The bundle holds histories of known users** (`users.parquet`)."
        if facts.has_users
        else "- The bundle holds no history of a user."
    )
    return lines


def _method(facts: CardFacts) -> list[str]:
    manifest = facts.manifest
    lines = [
        f"- Kind: `{manifest.kind}`, with {facts.num_weights:,} numbers in its weights.",
        f"- It reads at most the {manifest.max_history:,} most recent items of a history.",
    ]
    if len(facts.codebook_sizes) > 1:
        sizes = " × ".join(map(str, facts.codebook_sizes))
        order = "a tuple of" if facts.space is None else "made of"
        lines.append(f"- The semantic ID of an item is {order} codes: {sizes}.")
    lines += [f"- Beside the network: {words}." for words in _parts(facts)]
    training = [
        words.format(value)
        for name, words in _TRAINING.items()
        if isinstance(value := manifest.training.get(name), int) and not isinstance(value, bool)
    ]
    score = manifest.training.get("validation")
    if isinstance(score, float):
        training.append(f"the score on validation during the training was {score:.4f}")
    lines.append(f"- Training: {'; '.join([f'seed {manifest.seed}', *training])}.")
    if isinstance(manifest.training.get("backbone"), dict):
        lines.append("- The training began with the weights of an earlier training.")
    versions = ", ".join(_versions(manifest.libraries))
    lines.append(f"- Written by {versions}.")
    settings = _scalars(manifest.model)
    if settings:
        lines += ["", "| setting of the network | value |", "|---|---|"]
        lines += [f"| `{name}` | {value} |" for name, value in settings]
    return lines


def _parts(facts: CardFacts) -> Iterator[str]:
    for name, entry in facts.manifest.parts.items():
        words = PARTS[name].words
        if name == RANKER and isinstance(entry, KeptRanker):
            kind = entry.model.fitted if isinstance(entry.model, FittedRankerConfig) else "sasrec"
            words = f"{words} (`{kind}`, weight {entry.weight:g})"
        yield words


def _versions(libraries: Mapping[str, str]) -> Iterator[str]:
    for name, version in libraries.items():
        if plain(name) is not None and plain(version) is not None:
            yield f"{name} {version}"


def _scalars(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The settings of a network that are one number, one word, or yes or no."""
    found = []
    for name, value in model.items():
        if plain(name) is None or not isinstance(value, bool | int | float | str):
            continue
        told = plain(value) if isinstance(value, str) else _value(value)
        if told is not None:
            found.append((name, told))
    return found


def _value(value: bool | int | float) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:g}"


def _metrics(results: Sequence[CardResult], form: Form) -> list[str]:
    if not results:
        remedy = "Run `sidestep evaluate` on the run, and push or export it again."
        return [f"No evaluation of this {form.replace('-', ' ')} is known here. {remedy}"]
    lines = [
        "Each held-out next item is ranked among the whole catalog. The intervals are 95 % "
        "percentile bootstrap intervals over users. All numbers are of one training.",
    ]
    for result in results:
        rows = f"{result.num_users:,} users"
        if result.num_rows != result.num_users:
            rows = f"{result.num_rows:,} rows of {rows}"
        lists = "leave out" if result.excludes_seen else "may hold"
        lines += [
            "",
            f"**{result.split}** of `{result.dataset}`, {rows}: {result.method}, {result.setting}. "
            f"Lists {lists} items of the history.",
            "",
            "| metric | mean | 95 % interval |",
            "|---|---|---|",
            *(
                f"| {name} | {metric.mean:.4f} | {metric.low:.4f} to {metric.high:.4f} |"
                for name, metric in result.metrics.items()
            ),
        ]
    return lines


def _search(facts: CardFacts, form: Form) -> list[str]:
    manifest = facts.manifest
    if manifest.kind not in _WRITES_CODES:
        return ["The recommender scores every item. It needs no search."]
    if form == "language-model" or manifest.search.name == "beam":
        return [
            "The network writes an item code by code. A beam search keeps the likeliest prefixes, "
            "and takes only codes that lead to an item of the catalog.",
        ]
    if manifest.search.name == "beam-fusion":
        return [
            f"`{manifest.search.in_words}`: a beam search over all codes but the last, then a "
            "ranking of the items below the likeliest prefixes, by prefix and vector together.",
        ]
    guides = "the item head and the ranker" if RANKER in manifest.parts else "the item head"
    if manifest.search.name == "item-head":
        return [f"`item-head`: {guides} rank all items. No code is searched."]
    return [
        f"`item-beam`: a beam search over codes, guided by {guides}. The weight of the "
        f"log-probability of the codes is {manifest.search.likelihood_weight:g}."
    ]


def _limits(facts: CardFacts) -> list[str]:
    lines = [
        f"- The recommender knows {facts.num_items:,} items and recommends no other item. "
        "`sidestep append` adds items, of which the training has seen nothing.",
        "- It repeats the habits in its data. What many people took there, it recommends often.",
        "- The metrics ask whether a list holds the item that came next in old data. They do not "
        "tell what people would do with the list.",
        "- Nobody has measured whether the lists serve all groups of users equally well.",
    ]
    if is_import_path(facts.manifest.kind):
        lines.append(f"- Loading needs the Python class `{facts.manifest.kind}`.")
    return lines


def _use(facts: CardFacts, repository: str | None) -> list[str]:
    extra = "sidestep[hf]" if facts.manifest.kind == "hugging-face" else "sidestep"
    ids = facts.example_ids or ("ITEM", "ITEM")
    known = "" if facts.example_ids else " Replace `ITEM` by IDs of items."
    fetch = [f"sidestep pull {repository} --out bundle"] if repository is not None else []
    return [
        f"Install `{extra}`. In the lines below, `bundle` is the folder of this file.{known}",
        "",
        "```python",
        "import sidestep",
        "",
        'recommender = sidestep.load("bundle")',
        f"print(recommender.recommend([{json.dumps(ids)}], k=10))",
        "```",
        "",
        "```sh",
        *fetch,
        f"sidestep recommend bundle --history {','.join(ids)}",
        "sidestep serve bundle",
        "```",
        "",
        "`load` compares the hash of every file with the manifest. Nothing is unpickled.",
    ]


def _use_as_language_model() -> list[str]:
    return [
        "An item reads `<a_12><b_3><c_200>`. In the lines below, `model` is the folder of this "
        "file.",
        "",
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'model = AutoModelForCausalLM.from_pretrained("model")',
        'tokenizer = AutoTokenizer.from_pretrained("model")',
        "```",
        "",
        "A search that takes only codes of the catalog needs the bundle:",
        "",
        "```sh",
        "sidestep adopt model --out bundle",
        "```",
    ]
