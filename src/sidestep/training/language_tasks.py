"""Tasks in words: what a language model over codes learns of titles, beside the next item's codes.

An example is a prompt and an answer, both in tokens. The loss reads the answer alone. Prompt and
answer are turned into tokens one by one, so the answer begins at a token, and never at a character.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from sidestep.data.windows import WindowBatch, Windows
from sidestep.model.hugging_face import HuggingFaceModel
from sidestep.model.kept_tokenizer import backend_of
from sidestep.model.prompt_tokens import Turn
from sidestep.training.next_code import NextCodeObjective
from sidestep.training.objective import Loss, Objective
from sidestep.training.objective_config import LanguageTasksConfig, TaskName

PROMPTS: Mapping[TaskName, tuple[str, ...]] = {
    "title-to-id": (
        "Which item has the title {title}?",
        "Write the code of the item that is called {title}.",
        "Item: {title}. Its code:",
    ),
    "id-to-title": (
        "Which title does the item {id} have?",
        "Write the title of {id}.",
        "Code: {id}. Its title:",
    ),
    "titles-to-id": (
        "A customer chose these items, the oldest first: {titles}. Write the code of the next one.",
        "After {titles}, which item does the customer choose? Answer with its code.",
        "Titles of past items: {titles}. Code of the next item:",
    ),
    "ids-to-title": (
        "A customer chose these items, the oldest first: {ids}. Write the title of the next one.",
        "After {ids}, which item does the customer choose? Answer with its title.",
        "Codes of past items: {ids}. Title of the next item:",
    ),
    "titles-to-title": (
        "A customer chose these items, oldest first: {titles}. Write the title of the next one.",
        "After {titles}, which item does the customer choose? Answer with its title.",
        "Titles of past items: {titles}. Title of the next item:",
    ),
    "both-to-id": (
        "A customer chose these items, the oldest first: {both}. Write the code of the next one.",
        "Past items with their titles: {both}. Code of the next item:",
    ),
    "query-to-id": (
        "A customer chose {ids} and now looks for {query}. Write the code of a fitting item.",
        "Past items: {ids}. Wanted: {query}. Code of the item:",
    ),
    "ids-to-query": (
        "A customer chose {ids}. In a few words, what does the customer look for next?",
        "Past items: {ids}. Words for the next item:",
    ),
}
"""Several prompts of each task; ours. The authors of the mixtures have others."""

_SEPARATOR = "; "

_WIDTH_MULTIPLE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemWords:
    """The words of items.

    titles: one per item; None where an item has none.
    queries: one per item; None where an item has none, and for a catalog without such a column.
    ids: the tokens of each item's codes as text, such as "<a_3><b_0>".
    """

    titles: Sequence[str | None]
    queries: Sequence[str | None] | None
    ids: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A prompt and its answer, in tokens."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


class LanguageTasks:
    """Draws examples of tasks in words."""

    def __init__(
        self, config: LanguageTasksConfig, words: ItemWords, tokenizer: str, turn: Turn
    ) -> None:
        """Takes the words.

        Args:
            config: the tasks and their lengths.
            words: of the items.
            tokenizer: of the language model, see `kept_tokenizer`; it knows the tokens of codes.
            turn: the frame of prompts.

        Raises:
            ValueError: no item has a title, or a query that a task reads.
        """
        self.config, self.turn = config, turn
        self._weights = config.task_weights
        self._tokenizer = Tokenizer.from_str(backend_of(tokenizer))
        self._ids, self._titles = words.ids, [self._cut(title) for title in words.titles]
        self._queries = [None] * len(words.ids) if words.queries is None else list(words.queries)
        self._titled = [item for item, title in enumerate(self._titles) if title]
        if not self._titled:
            raise ValueError(
                "objective.tasks reads titles of items, and no item has one; set objective.tasks "
                "to none, or import the items with a title."
            )
        if any("query" in name for name in self._weights) and not any(self._queries):
            raise ValueError(
                f"objective.query_column: no item has a value in {config.query_column!r}."
            )

    def draw(
        self,
        histories: Sequence[Sequence[int]],
        number: int,
        generator: torch.Generator | None = None,
    ) -> list[Example]:
        """Draws examples.

        Args:
            histories: items of users, of which the last one is the target of a task.
            number: of the examples.
            generator: of the draws; None is torch's own.
        """
        names = list(self._weights)
        shares = torch.tensor([self._weights[name] for name in names])
        drawn = torch.multinomial(shares, number, replacement=True, generator=generator)
        made = []
        for which in drawn.tolist():
            name = names[which]
            prompts = PROMPTS[name]
            template = prompts[_drawn(len(prompts), generator)]
            fields = self._fields(name, histories, generator)
            if fields is None:
                continue
            text, answer, ends = fields
            made.append(
                Example(
                    prompt=self._tokens(
                        f"{self.turn.before}{template.format(**text)}{self.turn.after}"
                    ),
                    answer=(*self._tokens(answer), *self._end(ends)),
                )
            )
        return made

    def _fields(
        self,
        name: TaskName,
        histories: Sequence[Sequence[int]],
        generator: torch.Generator | None,
    ) -> tuple[dict[str, str], str, bool] | None:
        """The fields of a prompt, the answer, and whether a token ends the answer.

        None where the drawn history lacks the words that the task needs.
        """
        if name in ("title-to-id", "id-to-title"):
            item = self._titled[_drawn(len(self._titled), generator)]
            fields = {"title": self._titles[item] or "", "id": self._ids[item]}
            to_title = name == "id-to-title"
            return fields, fields["title"] if to_title else fields["id"], to_title
        if not histories:
            return None
        *past, target = histories[_drawn(len(histories), generator)]
        recent = past[-self.config.max_titles :]
        query = self._queries[target] or ""
        titles = [self._titles[item] or "" for item in recent]
        fields = {
            "ids": _SEPARATOR.join(self._ids[item] for item in past) or "nothing",
            "titles": _SEPARATOR.join(title for title in titles if title) or "nothing",
            "both": _SEPARATOR.join(
                f"{self._ids[item]} {title}".strip()
                for item, title in zip(recent, titles, strict=True)
            )
            or "nothing",
            "query": query,
        }
        answers: dict[str, Callable[[], str]] = {
            "id": lambda: self._ids[target],
            "title": lambda: self._titles[target] or "",
            "query": lambda: query,
        }
        wanted = name.rpartition("-")[2]
        answer = answers[wanted]()
        if not answer or ("query" in name and not query):
            return None
        return fields, answer, wanted != "id"

    def _end(self, ends: bool) -> tuple[int, ...]:
        return (self.turn.end,) if ends and self.turn.end is not None else ()

    def _cut(self, title: str | None) -> str | None:
        """A title of at most so many tokens."""
        if not title:
            return None
        found = self._tokenizer.encode(title, add_special_tokens=False)
        if len(found.ids) <= self.config.max_title_tokens:
            return title
        # The place in the text where the last token that stays ends.
        return title[: found.offsets[self.config.max_title_tokens - 1][1]]

    def _tokens(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)


class LanguageTasksObjective(Objective):
    """Next-code cross-entropy of a language model, and the loss of its tasks in words.

    The loss of a task is the mean of -log p over the tokens of all answers, in the whole
    vocabulary.
    """

    def __init__(
        self, codes: NextCodeObjective, network: HuggingFaceModel, tasks: LanguageTasks
    ) -> None:
        """Takes the parts.

        Args:
            codes: the loss of the codes.
            network: the language model, which `codes` trains.
            tasks: draws the examples in words.
        """
        super().__init__()
        self.codes, self.network, self.tasks = codes, network, tasks

    @property
    def trained(self) -> Mapping[str, nn.Module]:
        """See `Objective.trained`."""
        return {"model": self.network}

    @property
    def watched_parts(self) -> Sequence[str]:
        """See `Objective.watched_parts`."""
        return ("words",)

    @property
    def whole_batch_term(self) -> str | None:
        """See `Objective.whole_batch_term`."""
        return (
            "objective.tasks draws examples from the histories of the whole batch; set "
            "objective.tasks to none"
        )

    def prepare(self, windows: Windows) -> None:
        """See `Objective.prepare`."""
        self.codes.prepare(windows)

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`; parts: those of the codes, and the loss of words."""
        loss = self.codes(batch)
        # Draws of torch's own stream follow from the seed of the run, and a checkpoint keeps it.
        config = self.tasks.config
        histories = _drawn_histories(batch, config.texts_per_step)
        examples = self.tasks.draw(histories, config.texts_per_step)
        of_words = answer_loss(self.network, examples)
        return Loss(
            loss=loss.loss + config.text_weight * of_words,
            num_targets=loss.num_targets,
            parts={**loss.parts, "words": of_words.detach()},
        )


def answer_loss(network: HuggingFaceModel, examples: Sequence[Example]) -> Float[Tensor, ""]:
    """Mean of -log p over the tokens of the answers; 0 where there is no example."""
    device = network.code_tokens.device
    if not examples:
        return torch.zeros((), device=device)
    rows = [[*example.prompt, *example.answer] for example in examples]
    # Few different widths: a library that prepares itself for each shape does so less often.
    width = -(-max(map(len, rows)) // _WIDTH_MULTIPLE) * _WIDTH_MULTIPLE + 1
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    is_answer = torch.zeros(len(rows), width, dtype=torch.bool)
    for row, (example, written) in enumerate(zip(examples, rows, strict=True)):
        tokens[row, : len(written)] = torch.tensor(written)
        is_answer[row, len(example.prompt) : len(written)] = True
    tokens, is_answer = tokens.to(device), is_answer.to(device)
    logits = network.vocabulary_logits(tokens[:, :-1], is_answer[:, 1:])
    return functional.cross_entropy(logits, tokens[:, 1:][is_answer[:, 1:]])


def _drawn_histories(batch: WindowBatch, number: int) -> list[list[int]]:
    """Histories of a batch that end with one of its targets, drawn at random."""
    items, is_target = batch.items.cpu(), batch.is_target.cpu()
    users, positions = is_target.nonzero(as_tuple=True)
    if not len(users):
        return []
    drawn = torch.randint(len(users), (number,))
    return [items[users[which], : positions[which] + 1].tolist() for which in drawn.tolist()]


def _drawn(number: int, generator: torch.Generator | None) -> int:
    """A number below `number`, each alike."""
    return int(torch.randint(number, (), generator=generator))


def ids_in_words(
    semantic_ids: Int[Tensor, "items levels"], token_of: Callable[[int, int], str]
) -> list[str]:
    """The codes of items as text.

    Args:
        semantic_ids: of the items.
        token_of: the token of a code of a level.
    """
    return [
        "".join(token_of(level, code) for level, code in enumerate(codes))
        for codes in semantic_ids.tolist()
    ]
