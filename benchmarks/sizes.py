"""Sizes and searches: does a small network with a guided search reach a plain larger one?

    python benchmarks/sizes.py runs/scientific/sizes --results benchmarks/results/sizes.jsonl
    python benchmarks/sizes.py runs/scientific/sizes --figure docs/sizes.svg

Reads what `sizes.sh` measured, prints a table, and draws quality against FLOPs. A point is one
network, one search and one budget. The table marks the points that no cheaper point reaches.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib
import numpy as np

from result_line import now, processor

matplotlib.use("svg")
import matplotlib.pyplot as plt

NETWORKS = {"size": "alone", "joint": "with a process reward, from the first step"}
STYLES = {"beam": "-", "prm-beam": "--", "item-beam": ":", "item-head": ""}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One network, one search, one budget.

    network: `size` for a network that learned alone, `joint` for one that learned together with a
        process reward model.
    shape: width and layers, such as 128x4.
    search, weight, budget: the search, its λ where it has one, and its budget in words.
    flops, ms: cost per user.
    """

    network: str
    shape: str
    search: str
    weight: str | None
    budget: str
    ndcg: float
    recall: float
    wide_recall: float
    flops: float
    ms: float

    @property
    def curve(self) -> tuple[str, str, str, str | None]:
        """The fields that are equal for all budgets of a search."""
        return (self.network, self.shape, self.search, self.weight)


def main() -> None:
    """Prints the table; writes results and a figure where they are asked for."""
    arguments = parsed()
    points = sorted(read(arguments.folder), key=lambda point: (point.curve[:3], point.flops))
    if not points:
        raise SystemExit(f"{arguments.folder}: holds no *.json of sizes.sh; run sizes.sh first.")
    best = frontier(points)
    print(f"{'network':30} {'search':22} {'budget':22} NDCG@10  HR@10  HR@50  MFLOPs     ms")
    for point in points:
        search = point.search if point.weight is None else f"{point.search} λ = {point.weight}"
        mark = " *" if point in best else ""
        print(
            f"{point.shape + ' ' + point.network:30} {search:22} {point.budget:22} "
            f"{point.ndcg:.4f}  {point.recall:.4f} {point.wide_recall:.4f} "
            f"{point.flops / 1e6:7.1f} {point.ms:6.2f}{mark}"
        )
    print("* no cheaper point, by FLOPs, has as high an NDCG@10.")
    if arguments.results is not None:
        about = {"benchmark": "sizes", "dataset": arguments.folder.resolve().parent.name}
        told = about | {"time": now(), "processor": processor()}
        lines = "".join(json.dumps(told | asdict(point)) + "\n" for point in points)
        arguments.results.write_text(lines, encoding="utf-8")
    if arguments.figure is not None:
        draw(points, arguments.figure)


def read(folder: Path) -> Iterator[Point]:
    """The points of all files of a folder; a file is named network-shape-search[-weight].json."""
    for path in sorted(folder.glob("*.json")):
        network, shape, rest = path.stem.split("-", 2)
        search, weight = rest, None
        if rest.startswith("prm-beam-"):
            search, weight = "prm-beam", rest.removeprefix("prm-beam-")
        content = json.loads(path.read_text(encoding="utf-8"))
        measured = content.get("points", [content])
        for each in measured:
            metrics = each["metrics"]
            yield Point(
                network=network,
                shape=shape,
                search=search,
                weight=weight,
                budget=each.get("budget") or "all items",
                ndcg=metrics["NDCG@10"],
                recall=metrics["HR@10"],
                wide_recall=metrics["HR@50"],
                flops=each["flops_per_user"],
                ms=each["ms_per_user"],
            )


def frontier(points: Sequence[Point]) -> set[Point]:
    """The points that no point of as few FLOPs or fewer reaches."""
    best, found = 0.0, set()
    for point in sorted(points, key=lambda point: (point.flops, -point.ndcg)):
        if point.ndcg > best:
            best = point.ndcg
            found.add(point)
    return found


def draw(points: Sequence[Point], path: Path) -> None:
    """Draws NDCG@10 against FLOPs, a panel per network, a colour per shape, a line per search."""
    shapes = sorted({point.shape for point in points}, key=as_numbers)
    # The last colours of the map are too light for lines.
    colours = dict(
        zip(shapes, plt.get_cmap("plasma")(np.linspace(0, 0.8, len(shapes))), strict=True)
    )
    plt.rcParams["svg.hashsalt"] = "sizes"
    figure, panels = plt.subplots(1, len(NETWORKS), figsize=(11, 4.5), sharex=True, sharey=True)
    for panel, (network, title) in zip(panels, NETWORKS.items(), strict=True):
        of_network = [point for point in points if point.network == network]
        for curve in dict.fromkeys(point.curve for point in of_network):
            own = [point for point in of_network if point.curve == curve]
            _, shape, search, weight = curve
            if weight not in (None, "0.5"):
                continue
            panel.plot(
                [point.flops / 1e6 for point in own],
                [point.ndcg for point in own],
                STYLES[search],
                marker="*" if search == "item-head" else "o",
                markersize=9 if search == "item-head" else 3,
                color=colours[shape],
                label=f"{shape} {search}",
            )
        panel.set_title(f"network {title}", fontsize=10)
        panel.set_xscale("log")
        panel.set_xlabel("MFLOPs per user")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=6, ncols=2)
    panels[0].set_ylabel("NDCG@10, 2,000 validation users")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def as_numbers(shape: str) -> tuple[int, ...]:
    """Width and layers as numbers."""
    return tuple(int(number) for number in shape.split("x"))


def parsed() -> argparse.Namespace:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder", type=Path, help="what sizes.sh wrote, such as runs/scientific/sizes"
    )
    parser.add_argument("--results", type=Path, help="a file of results to write")
    parser.add_argument("--figure", type=Path, help="an SVG to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
