"""The profile of a split: where its interactions go, and when its parts begin."""

from sidestep.data.dataset import Dataset
from sidestep.data.histories import Histories
from sidestep.data.splits import Split
from sidestep.evaluation.data_profile import item_counts


def split_counts(dataset: Dataset, histories: Histories, split: Split) -> dict[str, int]:
    """The place of every interaction in a split, and the targets that training never saw."""
    num_interactions = len(dataset.interactions)
    num_learned = len(split.train.histories.items)
    num_used = len(histories.used().items)
    num_targets = len(split.validation) + len(split.test)
    is_unseen = item_counts(split.train.histories, len(dataset.items)) == 0
    return {
        "interactions": num_interactions,
        "training_interactions": num_learned,
        "validation_targets": len(split.validation),
        "test_targets": len(split.test),
        "held_out_as_context_only": num_used - num_learned - num_targets,
        **({"no_target_and_no_input": unused} if (unused := num_interactions - num_used) else {}),
        "users": len(histories),
        "users_in_training_only": split.num_training_only,
        "items_unseen_in_training": int(is_unseen.sum()),
        "validation_targets_unseen_in_training": int(is_unseen[split.validation.targets].sum()),
        "test_targets_unseen_in_training": int(is_unseen[split.test.targets].sum()),
    }


def part_starts(split: Split) -> dict[str, int]:
    """The moments at which a split by time begins its parts; empty for other splits."""
    strategy, _, details = split.strategy.partition("@")
    if strategy != "global-time":
        return {}
    validation_from, test_from = details.split(",")[:2]
    return {"validation": int(validation_from), "test": int(test_from)}
