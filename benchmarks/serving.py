"""Load on a service: how many users per second it answers, how fast, and what it does with more.

`sidestep serve` runs in a process of its own. This process sends requests of one user each, at the
times of a Poisson process (open loop): a slow answer delays no later request, and the latency of a
request counts from the time at which it was meant to be sent. The rate grows by a quarter per step
until fewer than 95 % of the requests get a list that is not degraded within the deadline; the last
rate before is the knee. Then: half of the knee, 80 % of it, twice the knee, and half of it again.
In the same run the same histories are answered in batches from Python, in this process.

    python benchmarks/serving.py runs/scientific/together runs/scientific/dataset
    python benchmarks/serving.py runs/scientific/together runs/scientific/dataset \\
        --other together-2 --soak-minutes 30

With --soak-minutes the service is kept at 60 % of the knee instead of the last steps, while every
thirty seconds an item is taken out, another one comes back, and the bundle is exchanged for the
folder --other beside it. Every list is checked: no item that was out from before the request was
sent until the list came.
The last line printed is one JSON object.
"""

import argparse
import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import torch

from result_line import add_results_option, finish, now, processor
from sidestep.bundle.folder import load
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.bundle.requests import Request
from sidestep.bundle.users import histories_of
from sidestep.runs.inputs import load_dataset

K = 10
TOKEN = "only-for-the-benchmark"
GOOD_SHARE = 0.95
CHANGE_EVERY_S = 30.0


def main() -> None:
    """Runs the benchmark with the sizes of the command line."""
    arguments = parsed()
    torch.set_num_threads(1)
    shop = load(arguments.bundle, device="cpu")
    histories = histories_of_users(shop, arguments.dataset)
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = [sys.executable, "-m", "sidestep", "serve", str(arguments.bundle)]
        command += ["--port", str(port), "--device", "cpu", "--threads", "1"]
        command += ["--deadline-ms", str(arguments.deadline_ms)]
        with (Path(folder) / "log").open("w") as log:
            environment = {**os.environ, "SIDESTEP_ADMIN_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}
            service = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            load_on = Load(f"http://127.0.0.1:{port}", histories, arguments.deadline_ms / 1000)
            wait_until_ready(load_on.url)
            result = asyncio.run(measured(load_on, service.pid, shop, arguments))
        finally:
            service.terminate()
            ended = service.wait(60)
    about = {
        "benchmark": "serving",
        "bundle": arguments.bundle.name,
        "kind": shop.kind,
        "items": shop.catalog.num_items,
        "search": shop.manifest.search.name,
        "k": K,
        "deadline_ms": arguments.deadline_ms,
        "processor": processor(),
        "time": now(),
        "note": arguments.note,
    }
    finish({**about, **result, "exit_status": ended}, arguments.results)


def parsed() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="a bundle, or a run")
    parser.add_argument("dataset", type=Path, help="the dataset that the bundle was trained on")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each step")
    parser.add_argument("--first-rate", type=float, default=50.0, help="users per second")
    parser.add_argument("--deadline-ms", type=float, default=250.0)
    parser.add_argument("--soak-minutes", type=float, default=0.0)
    parser.add_argument("--other", help="the folder of another bundle beside the first, to reload")
    parser.add_argument("--note", help="note on other work of the machine")
    add_results_option(parser)
    arguments = parser.parse_args()
    arguments.bundle = arguments.bundle.absolute()
    return arguments


@dataclass(kw_only=True)
class Outcome:
    """Counts of the requests of one step.

    rate: users per second that were meant to be sent.
    latencies: seconds from the intended time of each answered request.
    statuses: of all requests; "lost" where there was no answer at all.
    degraded: lists that were made in a cheaper way.
    leaks: lists with an item that was out from before the request was sent until the answer came.
    """

    rate: float
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    degraded: int = 0
    leaks: int = 0

    def row(self, deadline_s: float) -> dict[str, Any]:
        """The outcome for the results file."""
        sent = sum(self.statuses.values())
        ranked = sorted(self.latencies)
        in_time = sum(latency <= deadline_s for latency in ranked)
        return {
            "rate": round(self.rate, 1),
            "sent": sent,
            "good_share": max(0, in_time - self.degraded) / max(1, sent),
            "degraded_share": self.degraded / max(1, sent),
            "statuses": dict(self.statuses),
            "leaks": self.leaks,
            **{
                f"p{percent}_ms": 1000 * ranked[min(len(ranked) - 1, len(ranked) * percent // 100)]
                for percent in (50, 95, 99)
                if ranked
            },
        }


class Connections:
    """Open connections to a service; HTTP/1.1 by hand, as a library takes longer than the service.

    A request takes a connection that is free, or a new one.
    """

    def __init__(self, url: str) -> None:
        self._host, _, port = url.removeprefix("http://").partition(":")
        self._port = int(port)
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Sends JSON; returns the status and the body of the answer."""
        while self._free:
            reader, writer = self._free.pop()
            if not reader.at_eof():  # the service closes connections that rest
                break
        else:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        head = f"POST {path} HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        answered = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        lengths = [line for line in answered if line.startswith("content-length:")]
        content = await reader.readexactly(int(lengths[0].partition(":")[2]))
        self._free.append((reader, writer))
        return int(answered[0].split()[1]), content

    def close(self) -> None:
        """Closes all connections."""
        for _, writer in self._free:
            writer.close()


class Load:
    """Sends requests to a service at given rates."""

    def __init__(self, url: str, histories: Sequence[list[str]], deadline_s: float) -> None:
        self.url = url
        self.histories = histories
        self.deadline_s = deadline_s
        self.out: frozenset[str] = frozenset()
        """Items that are out now, which no later request may get."""
        self._draws = random.Random(0)

    async def step(self, rate: float, seconds: float) -> Outcome:
        """Sends requests for some seconds, and waits for their answers."""
        outcome = Outcome(rate=rate)
        connections = Connections(self.url)
        began = time.perf_counter()
        at, sent = 0.0, []
        while at < seconds:
            at += self._draws.expovariate(rate)
            wait = began + at - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            sent.append(asyncio.create_task(self._ask(connections, began + at, outcome)))
        await asyncio.gather(*sent)
        connections.close()
        return outcome

    async def _ask(self, connections: "Connections", intended: float, outcome: Outcome) -> None:
        out = self.out
        history = self._draws.choice(self.histories)
        body = json.dumps({"users": [{"history": history}], "k": K}).encode()
        try:
            status, content = await asyncio.wait_for(connections.post("/v1/recommend", body), 30)
        except (OSError, EOFError, TimeoutError) as error:
            outcome.statuses[f"lost: {type(error).__name__}"] += 1
            return
        outcome.statuses[str(status)] += 1
        if status == 200:
            outcome.latencies.append(time.perf_counter() - intended)
            [answer] = json.loads(content)["answers"]
            outcome.degraded += answer["degraded"] is not None
            # What came back while the request was on its way may be in the list.
            out &= self.out
            outcome.leaks += any(item["item_id"] in out for item in answer["items"])


async def measured(
    load_on: Load, pid: int, shop: LoadedRecommender, arguments: argparse.Namespace
) -> dict[str, Any]:
    """All steps, and the same histories from Python."""
    seconds, deadline_s = arguments.seconds, load_on.deadline_s
    await load_on.step(arguments.first_rate, 3)
    batched = users_per_second(shop, load_on.histories)
    sweep, knee, rate = [], None, arguments.first_rate
    while True:
        row = (await load_on.step(rate, seconds)).row(deadline_s)
        sweep.append(row)
        tell(row)
        if row["good_share"] < GOOD_SHARE:
            break
        knee, rate = rate, 1.25 * rate
    if knee is None:
        raise SystemExit("the first rate is too high; give a lower one with --first-rate.")
    result = {
        "knee": knee,
        "batched_users_per_s": batched,
        "knee_share": knee / batched,
        "sweep": sweep,
    }
    if arguments.soak_minutes:
        return result | {"soak": await soaked(load_on, pid, shop, 0.6 * knee, arguments)}
    for name, share in (("half", 0.5), ("most", 0.8), ("twice", 2.0), ("after_twice", 0.5)):
        before = resident_gb(pid)
        row = (await load_on.step(share * knee, seconds)).row(deadline_s)
        result[name] = row | {"resident_gb": [before, resident_gb(pid)]}
        tell(row)
    return result


async def soaked(
    load_on: Load, pid: int, shop: LoadedRecommender, rate: float, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Load for a long time, while bundles and available items change."""
    changes, memory, ends = Counter[str](), [resident_gb(pid)], time.perf_counter()
    ends += 60 * arguments.soak_minutes
    names = [arguments.other or arguments.bundle.name, arguments.bundle.name]
    rows: list[dict[str, Any]] = []

    async def change() -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(base_url=load_on.url, headers=headers, timeout=120) as admin:
            turn = 0
            while time.perf_counter() < ends:
                item_id = shop.catalog.ids_of(popular(shop)[turn % 20 : turn % 20 + 1])[0]
                back = sorted(load_on.out)
                load_on.out = frozenset()  # before it may come back
                body = {
                    "unavailable": [item_id],
                    "available": [each for each in back if each != item_id],
                }
                response = await admin.post("/v1/admin/availability", json=body)
                changes[f"availability {response.status_code}"] += 1
                load_on.out = frozenset({item_id})
                body = {"bundle": names[turn % 2]}
                response = await admin.post("/v1/admin/reload", json=body)
                changes[f"reload {response.status_code}"] += 1
                memory.append(resident_gb(pid))
                turn += 1
                await asyncio.sleep(CHANGE_EVERY_S)

    async def ask() -> None:
        while time.perf_counter() < ends:
            rows.append((await load_on.step(rate, 60)).row(load_on.deadline_s))
            tell(rows[-1])

    await asyncio.gather(change(), ask())
    statuses = sum((Counter(row["statuses"]) for row in rows), Counter[str]())
    return {
        "minutes": arguments.soak_minutes,
        "rate": rate,
        "statuses": dict(statuses),
        "leaks": sum(row["leaks"] for row in rows),
        "good_share": statistics.fmean(row["good_share"] for row in rows),
        "p99_ms": max(row["p99_ms"] for row in rows),
        "changes": dict(changes),
        "resident_gb": memory,
    }


def users_per_second(shop: LoadedRecommender, histories: Sequence[list[str]]) -> float:
    """Users per second of the same search from Python, in batches of 32; the best of three."""
    some = [Request(history=history, k=K) for history in histories[:960]]
    found = []
    for _ in range(3):
        began = time.perf_counter()
        for start in range(0, len(some), 32):
            shop.answer(some[start : start + 32])
        found.append(len(some) / (time.perf_counter() - began))
    return max(found)


def popular(shop: LoadedRecommender) -> Any:
    """The items, most popular first: those that lists hold."""
    return torch.as_tensor(shop.catalog.popularity).argsort(descending=True).numpy()


def histories_of_users(shop: LoadedRecommender, dataset: Path) -> list[list[str]]:
    """The histories of the users of a dataset."""
    known = histories_of(None, load_dataset(dataset).histories(), shop.catalog)
    return [list(history) for history in known.values()]


def resident_gb(pid: int) -> float:
    """Memory of a process and of all its children, in gigabytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9 + sum(map(resident_gb, children))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def wait_until_ready(url: str) -> None:
    """Waits until the bundle is loaded."""
    for _ in range(1200):
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise SystemExit("the service did not become ready within two minutes.")


def tell(row: dict[str, Any]) -> None:
    """Prints a step as it ends."""
    print(json.dumps(row), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
