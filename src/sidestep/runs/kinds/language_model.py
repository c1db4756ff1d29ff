"""Runs of kind language-model: a language model that learns to write the codes of items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import model_validator

from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import LanguageModelConfig
from sidestep.runs.codes_run import OrderedCodesRun
from sidestep.runs.plan import Given, Material, Origin, Plan
from sidestep.training.config import TrainingConfig
from sidestep.training.objective_config import LanguageTasksConfig
from sidestep.training.own_objective import OwnObjectiveConfig, or_own

with imported_when_used():
    import polars as pl

    from sidestep.catalog import catalog as catalogs
    from sidestep.model import hugging_face, language_models, prompt_tokens, semantic_id_model
    from sidestep.runs import language_titles
    from sidestep.training import fit, language_tasks, next_code
    from sidestep.training import objective as objectives


class LanguageModelRun(OrderedCodesRun):
    """A causal language model over semantic IDs, the setting of LC-Rec, MiniOneRec and V-STAR.

    The tokens of the codes join the vocabulary of the language model. One pass over a window
    learns every position: a history is the text so far, and each next item continues the text.
    Departure from the published recipes: there the prompt of each example ends before one target.
    """

    kind: Literal["language-model"] = "language-model"
    model: LanguageModelConfig
    objective: Annotated[LanguageTasksConfig | OwnObjectiveConfig, or_own(LanguageTasksConfig)] = (
        LanguageTasksConfig()
    )
    training: TrainingConfig = TrainingConfig(
        epochs=3, batch_size=16, learning_rate=3e-4, weight_decay=0.01
    )

    @model_validator(mode="after")
    def _has_tokens_of_codes(self) -> LanguageModelRun:
        has_tasks = isinstance(self.objective, LanguageTasksConfig) and self.objective.task_weights
        if self.model.codes == "titles" and has_tasks:
            raise ValueError(
                "objective.tasks reads and writes tokens of codes, and with model.codes: titles "
                "there are none; set objective.tasks to none."
            )
        return self

    @property
    def search_space(self) -> dict[str, str]:
        """See `RunConfig.search_space`."""
        return {
            "training.learning_rate": "log:5e-5..1e-3",
            "training.weight_decay": "log:1e-3..0.1",
        }

    def prepare(self, given: Given) -> Plan:
        """See `RunConfig.prepare`; the bundle keeps the language model with its adapter merged."""
        plan = super().prepare(given)
        network = None if plan.learning is None else plan.learning.network
        assert isinstance(network, hugging_face.HuggingFaceModel)
        merged, save = network, plan.save

        def save_merged(path: Path, origin: Origin) -> None:
            merged.merge_adapter()
            save(path, origin)

        return replace(plan, save=save_merged)

    def learning(self, material: Material, *, seed: int) -> fit.Learning:
        """See `CodesRun.learning`; the tokens of prompts belong to the training, too."""
        learning = super().learning(material, seed=seed)
        assert isinstance(learning.network, hugging_face.HuggingFaceModel)
        # A chat template may write the date, and then another prompt on another day.
        prompt = learning.network.prompt.as_json()
        return replace(learning, about={**learning.about, "prompt": prompt})

    def untrained(self, catalog: catalogs.Catalog) -> semantic_id_model.SemanticIdModel:
        """See `CodesRun.untrained`.

        Raises:
            FileNotFoundError, ValueError: see `read_language_model` and `HuggingFaceModel`.
        """
        language = language_models.read_language_model(self.model.language_model)
        turn = language.turn(chat=self.model.chat)
        opening = language.opening(self.model.instruction, turn)
        if self.model.codes == "titles":
            prompt = language_titles.prompt_of_titles(language, catalog, opening=opening, turn=turn)
        else:
            if language_titles.codes_of_titles(language, catalog) is not None:
                raise ValueError(
                    "the codes of this catalog are the tokens of titles; set model.codes to titles "
                    "and objective.tasks to none, or give a catalog of semantic IDs."
                )
            tokens = language_models.add_code_tokens(
                language,
                catalog.semantic_ids,
                catalog.codebook_sizes,
                texts=language_titles.titles_of(catalog),
                seed=0,
            )
            prompt = prompt_tokens.PromptTokens(opening=opening, codes=tokens, turn=turn)
        network = hugging_face.HuggingFaceModel(
            language.model,
            catalog.semantic_ids,
            catalog.codebook_sizes,
            prompt=prompt,
            tokenizer=language_models.tokenizer_text(language.tokenizer),
        )
        if self.model.gradient_checkpointing:
            checkpointed: Any = language.model  # transformers leaves the call untyped
            checkpointed.gradient_checkpointing_enable({"use_reentrant": False})
        if self.model.trained != "all":
            lora = self.model.lora if self.model.trained == "lora" else None
            network.adapt(lora, learns_rows=self.model.codes == "new-tokens")
        return network

    def made_objective(
        self, network: semantic_id_model.SemanticIdModel, catalog: catalogs.Catalog
    ) -> objectives.Objective:
        """See `CodesRun.made_objective`."""
        if isinstance(self.objective, OwnObjectiveConfig):
            return self.objective.made(network)
        codes = next_code.NextCodeObjective(network, self.objective)
        if not self.objective.task_weights:
            return codes
        assert isinstance(network, hugging_face.HuggingFaceModel)
        turn = network.prompt.turn
        assert network.tokenizer is not None, "the run gave the tokenizer"
        assert turn is not None, "the run gave the frame"
        words = language_tasks.ItemWords(
            titles=language_titles.titles_of(catalog),
            queries=_column(catalog, self.objective.query_column),
            ids=language_tasks.ids_in_words(catalog.semantic_ids, language_models.code_token),
        )
        tasks = language_tasks.LanguageTasks(self.objective, words, network.tokenizer, turn)
        return language_tasks.LanguageTasksObjective(codes, network, tasks)


def _column(catalog: catalogs.Catalog, name: str | None) -> Sequence[str | None] | None:
    """A column of the texts of the items; None where none is asked for.

    Raises:
        ValueError: the catalog has no such column.
    """
    if name is None:
        return None
    columns = [] if catalog.texts is None else catalog.texts.collect_schema().names()
    if name not in columns:
        raise ValueError(
            f"objective.query_column: there is no column {name!r}; there are: "
            f"{', '.join(columns) or 'none'}."
        )
    assert catalog.texts is not None
    found: Sequence[str | None] = (
        catalog.texts.select(pl.col(name).cast(pl.String)).collect().to_series().to_list()
    )
    return found
