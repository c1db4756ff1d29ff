"""Plans of tables: every step after those it reads, each once, for every table there is."""

import pytest

from sidestep.cli.pipeline_commands import find_command
from sidestep.reproduction.declarations import read_kit, read_table, table_names
from sidestep.reproduction.planning import Planned, plan_table

from .research_data import write_research_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of invented data sets in the forms of the research data."""
    folder = tmp_path_factory.mktemp("research") / "data"
    write_research_data(folder, ("scientific", "beauty", "sports", "toys", "ml-100k"))
    return folder


def planned(data, out, name, *, on=None, num_seeds=2, is_fast=False, **changed) -> Planned:
    """The plan of a table on one of its data sets, the first by default."""
    found = read_table(name)
    on = on or next(iter(found.data))
    return plan_table(
        name,
        found.model_copy(update=changed),
        read_kit(),
        on,
        source=data / on,
        out=out / on,
        num_seeds=num_seeds,
        is_fast=is_fast,
        find=find_command,
    )


@pytest.mark.parametrize("is_fast", [False, True])
@pytest.mark.parametrize("name", table_names())
def test_every_step_comes_after_what_it_reads(name, is_fast, data, tmp_path):
    for on in read_table(name).data:
        steps = planned(data, tmp_path, name, on=on, is_fast=is_fast).pipeline.makers
        names = [step.name for step in steps]
        assert names[0] == "import"
        assert len({*names}) == len(names)
        for place, step in enumerate(steps):
            assert {*step.made_from["after"]} <= {*names[:place]}, step.name


def test_data_with_a_split_of_their_own_are_split_before_anything_reads_them(data, tmp_path):
    steps = planned(data, tmp_path, "zoo-time").pipeline.makers
    assert [step.name for step in steps[:2]] == ["import", "split"]
    assert "data split" in steps[1].line
    assert "--strategy global-time --targets every" in steps[1].line
    by_what = {step.name: {*step.made_from["after"]} for step in steps}
    assert by_what["train caser-0"] == {"split"}


def test_what_learns_has_a_training_per_seed_and_what_counts_has_one(data, tmp_path):
    evaluations = planned(data, tmp_path, "ours-main", num_seeds=3).evaluations
    folders = {each.row.run: [run.name for run in each.runs] for each in evaluations}
    assert folders["sasrec"] == ["sasrec-0", "sasrec-1", "sasrec-2"]
    assert folders["graph"] == ["graph-0"]
    seeds = {
        step.name: step.arguments[-1]
        for step in planned(data, tmp_path, "ours-main", num_seeds=3).pipeline.makers
        if step.training is not None
    }
    assert seeds["train tree-2"] == "2"


def test_a_run_goes_on_from_the_backbone_of_its_seed(data, tmp_path):
    steps = planned(data, tmp_path, "vstar-4").pipeline.makers
    runs = {step.name: step.training.run for step in steps if step.training is not None}
    assert runs["train vstar-1"].backbone == "value-1"
    assert runs["train value-1"].backbone == "short-1"
    assert runs["train vstar-1"].embeddings == "vectors.npy"


def test_the_control_goes_on_with_the_first_objective(data, tmp_path):
    steps = planned(data, tmp_path, "vstar-1").pipeline.makers
    runs = {step.name: step.training.run for step in steps if step.training is not None}
    assert runs["train sft-continued-0"].objective.likelihood == runs["train short-0"].objective


def test_values_of_the_data_set_stand_in_the_places_of_their_names(data, tmp_path):
    histories = {}
    for on in ("scientific", "beauty"):
        steps = planned(data, tmp_path, "ours-main", on=on).pipeline.makers
        [run] = [step.training.run for step in steps if step.name == "train sasrec-0"]
        histories[on] = (run.max_history, run.model.max_items, run.model.dim)
    assert histories == {"scientific": (20, 20, 256), "beauty": (50, 50, 128)}


def test_both_kinds_of_lists_are_evaluated_where_the_table_has_both(data, tmp_path):
    steps = planned(data, tmp_path, "ours-main").pipeline.makers
    of_sasrec = [step for step in steps if step.name.startswith("evaluate sasrec-0 ")]
    assert ["--exclude-seen" in step.arguments for step in of_sasrec] == [False, True]
    assert not any("--users" in step.arguments for step in steps)


def test_tables_in_one_folder_share_their_steps(data, tmp_path):
    plans = [planned(data, tmp_path, name, on="beauty") for name in ("promise-1", "reg4rec-2")]
    first, second = ({step.name: step.digest for step in plan.pipeline.makers} for plan in plans)
    shared = first.keys() & second.keys()
    assert {"import", "embed", "train sasrec-1", "evaluate tiger-0 tiger-beam kept"} <= shared
    assert all(first[name] == second[name] for name in shared)


def test_a_ranker_stands_beside_a_run_and_both_may_teach(data, tmp_path):
    plan = planned(data, tmp_path, "ours-main", num_seeds=2)
    steps = {step.name: step for step in plan.pipeline.makers}
    attached = steps["attach head-and-graph-1"]
    assert {*attached.made_from["after"]} == {"train tied-1", "train graph-0"}
    taught = steps["train tree-graph-1"]
    assert "attach head-and-graph-1" in taught.made_from["after"]
    by_run = {evaluations.row.run: evaluations for evaluations in plan.evaluations}
    assert len(by_run["head-and-graph"].runs) == 2
