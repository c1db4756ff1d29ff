"""Tasks in words: prompts and answers in tokens, and a loss that reads the answers alone."""

import pytest
import torch
from torch.nn import functional

transformers = pytest.importorskip("transformers")

from sidestep.model import language_models  # noqa: E402
from sidestep.model.hugging_face import HuggingFaceModel  # noqa: E402
from sidestep.model.prompt_tokens import PromptTokens, Turn  # noqa: E402
from sidestep.training.language_tasks import (  # noqa: E402
    PROMPTS,
    Example,
    ItemWords,
    LanguageTasks,
    answer_loss,
    ids_in_words,
)
from sidestep.training.objective_config import LanguageTasksConfig  # noqa: E402
from tests.model.languages import write_language_model  # noqa: E402

IDS = torch.tensor([[0, 1], [1, 0], [1, 1]])
SIZES = (2, 2)
TITLES = ["red lamp", "blue chair", None]
QUERIES = ["the shop", "the table", None]
END = 2


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    made = language_models.read_language_model(
        str(write_language_model(tmp_path_factory.mktemp("language")))
    )
    language_models.add_code_tokens(made, IDS, SIZES, texts=TITLES, seed=0)
    return made


def tasks_of(language, task, **more):
    config = LanguageTasksConfig(
        tasks={task: 1.0}, **{"query_column": "shelf" if "query" in task else None, **more}
    )
    words = ItemWords(
        titles=TITLES, queries=QUERIES, ids=ids_in_words(IDS, language_models.code_token)
    )
    turn = Turn(before="<s>", after=" ", end=END)
    return LanguageTasks(config, words, language_models.tokenizer_text(language.tokenizer), turn)


@pytest.mark.parametrize(
    ("task", "shown", "answer"),
    [
        ("titles-to-id", "blue chair", "<a_0><b_1>"),
        ("titles-to-title", "blue chair", "red lamp"),
        ("ids-to-title", "<a_1><b_1>; <a_1><b_0>", "red lamp"),
        ("both-to-id", "<a_1><b_1>; <a_1><b_0> blue chair", "<a_0><b_1>"),
        ("query-to-id", "the shop", "<a_0><b_1>"),
        ("ids-to-query", "<a_1><b_1>; <a_1><b_0>", "the shop"),
    ],
)
def test_a_task_shows_the_history_and_asks_for_the_next_item(language, task, shown, answer):
    drawn = tasks_of(language, task).draw([[2, 1, 0]], 12, torch.Generator().manual_seed(0))
    assert len(drawn) == 12
    ends = [] if task.endswith("id") else [END]
    prompts = {example.prompt for example in drawn}
    assert len(prompts) == len(PROMPTS[task])
    for example in drawn:
        assert list(example.answer) == [*language.encode(answer), *ends]
        text = language.tokenizer.decode(example.prompt).replace(" ", "")
        assert shown.replace(" ", "") in text
        assert example.prompt[0] == 1


@pytest.mark.parametrize("task", ["title-to-id", "id-to-title"])
def test_titles_and_ids_of_all_titled_items_are_learned(language, task):
    drawn = tasks_of(language, task).draw([], 40, torch.Generator().manual_seed(1))
    titles, ids = ["red lamp", "blue chair"], ["<a_0><b_1>", "<a_1><b_0>"]
    answers = [[*language.encode(title), END] for title in titles]
    if task == "title-to-id":
        answers = [language.encode(words) for words in ids]
    assert {example.answer for example in drawn} == {tuple(answer) for answer in answers}


def test_a_target_without_words_gives_no_example(language):
    draw = torch.Generator().manual_seed(0)
    assert tasks_of(language, "titles-to-title").draw([[0, 2]], 5, draw) == []
    assert tasks_of(language, "query-to-id").draw([[0, 2]], 5, draw) == []


def test_long_titles_are_cut_by_tokens(language):
    drawn = tasks_of(language, "id-to-title", max_title_tokens=1).draw(
        [], 20, torch.Generator().manual_seed(0)
    )
    assert {example.answer for example in drawn} == {
        (*language.encode("red"), END),
        (*language.encode("blue"), END),
    }


def test_the_loss_is_the_mean_over_the_tokens_of_answers(language):
    tokens = torch.tensor(
        [language.tokenizer.get_vocab()[f"<{x}_{c}>"] for x in "ab" for c in (0, 1)]
    )
    network = HuggingFaceModel(
        language.model, IDS, SIZES, prompt=PromptTokens(opening=(1,), codes=tokens)
    )
    examples = [
        Example(prompt=(1, 13), answer=(16, END)),
        Example(prompt=(1, 14, 20, 21), answer=(17,)),
    ]
    losses = []
    for example in examples:
        whole = torch.tensor([[*example.prompt, *example.answer]])
        logits = language.model(whole).logits[0, len(example.prompt) - 1 : -1]
        answer = torch.tensor(example.answer)
        losses.append(functional.cross_entropy(logits, answer, reduction="sum"))
    expected = sum(losses) / 3
    torch.testing.assert_close(answer_loss(network, examples), expected)
    assert float(answer_loss(network, [])) == 0
