"""The benchmark of reinforcement learning, at tiny sizes: its output, never its speed."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "rl.py"
TINY = (
    "--batch 2 --history 3 --levels 3 --codebook-size 8 --items 60 --beams 4 --warm-width 2 "
    "--times 2 --dim 16 --layers 1 --heads 2 --reward-dim 4 --repeats 3 --paths-per-round 1 2"
)
STEPS = ["grpo-beam", "grpo-ved m=1", "grpo-ved m=2"]
PARTS = ["rollouts", "rewards", "update"]


def run(options: str, results: Path) -> dict:
    """The last line that the script prints, which must equal the line that it writes."""
    command = [sys.executable, str(SCRIPT), *options.split(), "--results", str(results)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    (line,) = results.read_text().splitlines()
    assert said.splitlines()[-1] == line
    return json.loads(line)


def test_the_ratio_is_of_equal_rollouts_and_the_parts_make_up_the_step(tmp_path):
    result = run(f"{TINY} --device cpu", tmp_path / "rl.jsonl")
    seconds = result["seconds"]
    assert {name: len(turns) for name, turns in seconds.items()} == dict.fromkeys(
        ["ours", "hf", *STEPS], 3
    )
    ratios = [hf / ours for hf, ours in zip(seconds["hf"], seconds["ours"], strict=True)]
    assert result["rollouts_vs_hf"] == pytest.approx(statistics.median(ratios))
    assert result["rollouts_per_s"] == pytest.approx(
        {name: 2 * 4 / statistics.median(seconds[name]) for name in ("ours", "hf")}
    )
    # Both sides find the same sets, up to the last digits; the script itself asserts this.
    assert 0 <= result["max_score_difference"] < 1e-4
    tokens = {step: [1 + 2 * 4] if step == "grpo-beam" else [1 + 2 * 2 * 4] for step in STEPS}
    assert result["tokens"] == tokens
    for step in STEPS:
        parts = result["parts_s"][step]
        assert list(parts) == PARTS
        assert min(parts["rollouts"] + parts["rewards"] + parts["update"]) > 0
        for turn, whole in enumerate(seconds[step]):
            assert sum(parts[part][turn] for part in PARTS) <= whole
        totals = [sum(turn) for turn in zip(*parts.values(), strict=True)]
        for part in PARTS:
            shares = [one / whole for one, whole in zip(parts[part], totals, strict=True)]
            assert result["shares"][step][part] == pytest.approx(statistics.median(shares))
        assert result["users_per_s"][step] == pytest.approx(
            {
                **{part: 2 / statistics.median(parts[part]) for part in PARTS},
                "step": 2 / statistics.median(totals),
            }
        )


def test_histories_of_items_have_no_other_side(tmp_path):
    result = run(f"{TINY} --repeats 1 --device cpu --history-form items", tmp_path / "rl.jsonl")
    assert result["rollouts_vs_hf"] is None
    assert list(result["rollouts_per_s"]) == ["ours"]
    assert list(result["shares"]) == STEPS
