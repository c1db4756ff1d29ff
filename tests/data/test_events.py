import math

import polars as pl
import pytest

from sidestep.data.events import EventWeights, event_counts, listed_counts, refuse_unknown_types

EVENTS = pl.Series("event", ["view", "cart", "view", None, "purchase"], dtype=pl.String)


def test_a_type_that_is_not_named_weighs_nothing_and_without_weights_all_weigh_one():
    weights = EventWeights(targets={"purchase": 1, "cart": 0.3}, inputs={"view": 0.2, "cart": 1})
    assert weights.of_targets(EVENTS).to_list() == [0, 0.3, 0, 0, 1]
    assert weights.of_inputs(EVENTS).to_list() == [0.2, 1, 0.2, 0, 0]
    assert weights.target_types == ("purchase", "cart")
    assert EventWeights().of_targets(EVENTS) is None
    assert EventWeights().target_types is None


def test_weights_of_one_everywhere_are_no_weights():
    every = dict.fromkeys(["view", "cart", "purchase", ""], 1.0)
    assert EventWeights(targets=every, inputs=every).of_targets(EVENTS) is None
    assert EventWeights(targets=every, inputs=every).of_inputs(EVENTS) is None


def test_a_description_gives_the_same_weights_whatever_the_order_of_their_names():
    weights = EventWeights(targets={"b": 1, "a": 0.5}, inputs={"b": 0, "a": 1})
    again = EventWeights.from_description(weights.description())
    assert (
        again.description()
        == weights.description()
        == {
            "targets": {"a": 0.5, "b": 1.0},
            "inputs": {"a": 1.0, "b": 0.0},
        }
    )
    assert list(weights.description()["targets"]) == ["a", "b"]
    assert EventWeights().description() == {}


@pytest.mark.parametrize("wrong", [-0.1, math.nan, math.inf])
def test_a_weight_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match=r"weight of target event 'cart' is .*from 0 on"):
        EventWeights(targets={"purchase": 1, "cart": wrong})
    with pytest.raises(ValueError, match="weight of input event 'cart'"):
        EventWeights(inputs={"purchase": 1, "cart": wrong})


def test_weights_that_leave_nothing_are_refused():
    with pytest.raises(ValueError, match="no type of event has a weight above 0 as target"):
        EventWeights(targets={"view": 0})
    with pytest.raises(ValueError, match="as input; name at least one"):
        EventWeights(inputs={})


def test_types_are_counted_and_unknown_ones_are_refused_with_the_counts():
    counts = event_counts(EVENTS)
    assert counts == {"view": 2, "": 1, "cart": 1, "purchase": 1}
    assert list(counts) == ["view", "", "cart", "purchase"]
    assert listed_counts(counts) == "view 2, (no type) 1, cart 1, purchase 1"
    refuse_unknown_types(["view", "purchase"], counts, "--events")
    with pytest.raises(ValueError, match=r"--events: no .* type 'sale'; there are view 2, \(no"):
        refuse_unknown_types(["view", "sale"], counts, "--events")
    nothing = event_counts(pl.Series("event", [None, None], dtype=pl.String))
    with pytest.raises(ValueError, match="name the column that says what happened with --event"):
        refuse_unknown_types(["view"], nothing, "--events")
