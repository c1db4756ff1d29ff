import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestep.training.schedule import learning_rate_at


def test_worked_example():
    # Two steps up; then half a cosine over eight: at its middle the mean of 1 and .1, at its
    # quarters (1 + cos(pi/4))/2 = .85355 and (1 - cos(pi/4))/2 = .14645 of the way.
    rates = [
        learning_rate_at(step, num_steps=10, warmup_steps=2, peak=1.0, floor=0.1)
        for step in range(11)
    ]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[4] == pytest.approx(0.1 + 0.9 * 0.8535534)
    assert rates[6] == pytest.approx(0.55)
    assert rates[8] == pytest.approx(0.1 + 0.9 * 0.1464466)
    assert rates[10] == pytest.approx(0.1)


@given(st.integers(1, 200), st.integers(0, 200), st.floats(0, 1))
def test_it_rises_then_falls_between_floor_and_peak(num_steps, warmup_steps, floor):
    rates = [
        learning_rate_at(
            step, num_steps=num_steps, warmup_steps=warmup_steps, peak=1.0, floor=floor
        )
        for step in range(num_steps + 1)
    ]
    top = min(warmup_steps, num_steps)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert all(0 < rate <= 1 or floor == 0 for rate in rates)
