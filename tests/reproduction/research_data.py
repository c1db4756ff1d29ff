"""An invented shop in the forms of the research data that the kit's tables name."""

import json
from pathlib import Path

from sidestep.data.dataset import Dataset
from sidestep.data.synthetic import SyntheticShopConfig, synthetic_shop


def write_research_data(folder: Path, names: tuple[str, ...]) -> None:
    """Writes a folder per data set: LC-Rec JSON, P5, or RecBole's atomic files with times."""
    shop, _ = synthetic_shop(
        SyntheticShopConfig(num_users=60, num_departments=2, items_per_kind=6), 0
    )
    for name in names:
        (folder / name).mkdir(parents=True)
        if name == "ml-100k":
            _write_recbole(shop, folder / name, name)
        elif name in ("scientific", "beauty"):
            _write_lcrec(shop, folder / name, name.capitalize(), has_terms=name == "beauty")
        else:
            _write_p5(shop, folder / name)


def _sequences(shop: Dataset) -> list[list[int]]:
    """The items of each user by number, oldest first."""
    histories = shop.histories()
    return [
        histories.items[start:end].tolist()
        for start, end in zip(histories.offsets, histories.offsets[1:], strict=False)
    ]


def _terms(shop: Dataset) -> list[list[str]]:
    """A few words per item; the first is its kind."""
    titles = shop.items.frame["title"].to_list()
    return [[title.split()[-1], *title.lower().split()] for title in titles]


def _write_lcrec(shop: Dataset, folder: Path, name: str, *, has_terms: bool) -> None:
    users = {str(user): items for user, items in enumerate(_sequences(shop))}
    (folder / f"{name}.inter.json").write_text(json.dumps(users))
    titles, terms = shop.items.frame["title"].to_list(), _terms(shop)
    texts: dict[str, object] = {
        str(item): terms[item] if has_terms else {"title": title, "categories": terms[item][0]}
        for item, title in enumerate(titles)
    }
    (folder / f"{name}.{'terms' if has_terms else 'item'}.json").write_text(json.dumps(texts))


def _write_p5(shop: Dataset, folder: Path) -> None:
    lines = [
        " ".join(map(str, [user + 1, *(item + 1 for item in items)]))
        for user, items in enumerate(_sequences(shop))
    ]
    (folder / "sequential_data.txt").write_text("\n".join(lines) + "\n")
    texts = {str(item + 1): terms for item, terms in enumerate(_terms(shop))}
    (folder / "item_terms.json").write_text(json.dumps(texts))


def _write_recbole(shop: Dataset, folder: Path, name: str) -> None:
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    for user, items in enumerate(_sequences(shop)):
        # Users come one after the other, so that a split by time has some in every part.
        lines += [
            f"{user}\t{item}\t4\t{880_000_000 + 40_000 * user + 86_400 * place}"
            for place, item in enumerate(items)
        ]
    (folder / f"{name}.inter").write_text("\n".join(lines) + "\n")
    texts = ["item_id:token\tmovie_title:token_seq\tclass:token_seq"]
    titles = shop.items.frame["title"].to_list()
    texts += [f"{item}\t{title}\t{title.split()[-1]}" for item, title in enumerate(titles)]
    (folder / f"{name}.item").write_text("\n".join(texts) + "\n")
