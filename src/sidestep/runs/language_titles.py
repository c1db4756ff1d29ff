"""Catalogs whose codes are the tokens of titles, and the prompts of language models over them."""

from __future__ import annotations

from collections.abc import Sequence

from sidestep.data.dataset import Dataset
from sidestep.data.own_split import split_of
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import note
from sidestep.runs.catalogs import make_catalog
from sidestep.tokenizer.title_codes import END, PADDING, TitleCodes, title_codes

with imported_when_used():
    import torch

    from sidestep.catalog import catalog as catalogs
    from sidestep.model import language_models, prompt_tokens

END_OF_TITLE = "\n"
"""The text that ends a title."""


def title_catalog(dataset: Dataset, source: str, *, num_levels: int) -> catalogs.Catalog:
    """The catalog of the titles of a dataset.

    Args:
        dataset: its items need titles.
        source: the language model whose tokens are the codes: a folder, or a name on the hub.
        num_levels: tokens that are read of a title.

    Raises:
        FileNotFoundError, ValueError: see `read_language_model`; or the items have no titles.
    """
    frame = dataset.items.frame
    name = next((column for column in catalogs.TITLE_COLUMNS if column in frame.columns), None)
    if name is None:
        raise ValueError(
            "--titles reads the titles of items, and the dataset has none of the columns "
            f"{', '.join(catalogs.TITLE_COLUMNS)}; import the items with their titles."
        )
    tokenizer = language_models.read_tokenizer(source)
    made = _codes(tokenizer, frame[name].to_list(), num_levels)
    shared = len(frame) - len({tuple(codes) for codes in made.semantic_ids.tolist()})
    if shared:
        note(
            f"{shared:,} of {len(frame):,} items have the same first {made.semantic_ids.shape[1]} "
            "tokens as another item, and share its codes; more --title-tokens may tell more items "
            "apart."
        )
    return make_catalog(dataset, split_of(dataset), made.semantic_ids, made.codebook_sizes)


def prompt_of_titles(
    language: language_models.LanguageModel,
    catalog: catalogs.Catalog,
    *,
    opening: tuple[int, ...],
    turn: prompt_tokens.Turn,
) -> prompt_tokens.PromptTokens:
    """The tokens of prompts over a catalog of titles.

    Args:
        language: the model and its tokenizer.
        catalog: of `title_catalog`.
        opening, turn: see `PromptTokens`.

    Raises:
        ValueError: the codes of the catalog are not the tokens of its titles.
    """
    made = codes_of_titles(language, catalog)
    if made is None:
        raise ValueError(
            "model.codes: titles needs a catalog whose codes are the tokens of titles under this "
            "tokenizer; make it with 'sidestep tokenize DATASET --titles LANGUAGE_MODEL', with the "
            "language model of this run."
        )
    end = _end_of_title(language)
    flat = made.flat_tokens
    return prompt_tokens.PromptTokens(
        opening=opening,
        codes=torch.tensor([end if token in (END, PADDING) else token for token in flat]),
        silent=tuple(code for code, token in enumerate(flat) if token == PADDING),
        turn=turn,
    )


def _end_of_title(language: language_models.LanguageModel) -> int:
    """The token of the end of a title.

    Raises:
        ValueError: the tokenizer has neither such a token nor one for the end of a text.
    """
    # Some tokenizers put a mark before the text; the last token is the new line.
    for token in language.encode(END_OF_TITLE)[-1:]:
        if language.tokenizer.decode([token]) == END_OF_TITLE:
            return token
    end: int | None = language.tokenizer.eos_token_id
    if end is None:
        raise ValueError(
            "the tokenizer of the language model has no token for a new line and none for the end "
            "of a text, so nothing can end a title; name another language model."
        )
    return end


def codes_of_titles(
    language: language_models.LanguageModel, catalog: catalogs.Catalog
) -> TitleCodes | None:
    """The codes of a catalog as tokens of its titles; None if they are no such tokens."""
    made = _codes(language.tokenizer, titles_of(catalog), catalog.num_levels)
    same_sizes = made.codebook_sizes == catalog.codebook_sizes
    is_same = same_sizes and bool((catalog.semantic_ids.cpu().numpy() == made.semantic_ids).all())
    return made if is_same else None


def titles_of(catalog: catalogs.Catalog) -> Sequence[str | None]:
    """The titles of the items; None where there is none."""
    return [None] * catalog.num_items if catalog.texts is None else catalog.titles.to_list()


def _codes(tokenizer: object, titles: Sequence[str | None], num_levels: int) -> TitleCodes:
    words = language_models.tokens_of(tokenizer, titles)
    return title_codes(words, num_levels=num_levels)
