"""Drafts of pipelines, made from Python."""

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
