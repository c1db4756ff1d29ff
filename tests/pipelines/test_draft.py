"""Drafts of pipelines, made from Python."""

import re

import pytest

from sidestep.cli.pipeline_commands import find_command
from sidestep.pipelines.draft import draft_pipeline
from sidestep.pipelines.pipeline import read_pipeline


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.csv"
    rows = "".join(f"u{n % 6},i{n % 5},{n}\n" for n in range(12))
    path.write_text("visitor,sku,at\n" + rows)
    return path


def test_a_draft_says_what_it_saw_and_writes_a_pipeline_that_can_be_read(log, tmp_path):
    folder = tmp_path / "shop"
    draft = draft_pipeline(folder, log, find=find_command)
    assert draft.columns is not None
    assert [draft.columns.user.column, draft.columns.item.column] == ["visitor", "sku"]
    assert draft.contents is not None
    assert draft.contents.profile.interactions == 12
    assert not folder.exists()
    draft.write()
    pipeline = read_pipeline(folder, find=find_command)
    assert [step.name for step in pipeline.makers][:2] == ["import", "split"]


def test_a_draft_replaces_no_pipeline(log, tmp_path):
    draft_pipeline(tmp_path, log, find=find_command).write()
    with pytest.raises(ValueError, match=r"sidestep\.yaml exists; edit it"):
        draft_pipeline(tmp_path, log, find=find_command)


def test_columns_without_a_table_are_refused(tmp_path):
    with pytest.raises(ValueError, match="give --interactions FILE as well"):
        draft_pipeline(tmp_path, user="visitor", find=find_command)


def test_a_draft_offers_times_and_columns_of_items_that_a_hash_keeps_out(log, tmp_path):
    items = tmp_path / "items.csv"
    rows = "".join(f"i{n},Lamp {n},{'Oak' if n % 2 else 'Elm'}\n" for n in range(8))
    items.write_text("sku,title,brand\n" + rows)
    draft = draft_pipeline(tmp_path / "shop", log, items, find=find_command)
    draft.write()
    networks = ("sasrec", "transformer")

    def models():
        steps = {
            step.name: step for step in read_pipeline(tmp_path / "shop", find=find_command).makers
        }
        return [steps[f"train {name}"].training.run.model for name in networks]

    assert all(model.times is None and model.item_columns is None for model in models())
    text, count = re.subn(r"# (times: true|item_columns: )", r"\1", draft.text)
    assert count == 4
    draft.file.write_text(text)
    assert all(list(model.item_columns) == ["brand"] and model.times for model in models())


def test_a_draft_offers_no_times_where_there_are_none(log, tmp_path):
    draft = draft_pipeline(tmp_path / "shop", log, time="none", find=find_command)
    assert "# times" not in draft.text
    assert "# times" in draft_pipeline(tmp_path / "other", find=find_command).text
