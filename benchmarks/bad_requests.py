"""Bad requests by the ten thousand: what a service answers, and whether it still answers.

`sidestep serve` runs in a process of its own. Requests for all routes of its description (OpenAPI)
are made from valid ones by random changes: values of other types, missing and unknown fields, huge
and empty lists, numbers at the edge, bytes that are no JSON, wrong methods, headers and lengths. A
request is answered well by any status below 500, or by 503. Before and after, one request is asked
for whose list must stay the same.

    python benchmarks/bad_requests.py runs/scientific/together --requests 100000

The last line printed is one JSON object. The exit status is 1 if a request was answered badly.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from result_line import add_results_option, finish, now, processor
from serving import TOKEN, free_port, wait_until_ready

HANG_S = 20.0
MOST_TOLD = 10

VALID: dict[tuple[str, str], Any] = {
    ("POST", "/v1/recommend"): {
        "users": [{"history": ["1", "2"], "exclude": ["3"]}, {"history": []}],
        "k": 5,
        "exclude_seen": True,
        "only": ["4", "5"],
        "where": {"title": ["a", "b"]},
        "boosts": [{"items": ["4"], "by": 1.5}],
        "new_places": 0,
        "search": {"name": "beam", "beams": 5, "candidates": 10, "budget": 1},
        "deadline_ms": 500.0,
    },
    ("POST", "/v1/explain"): {
        "user": {"history": ["1"]},
        "k": 3,
        "search": {"name": "beam", "beams": 3},
    },
    ("POST", "/v1/admin/availability"): {"unavailable": ["no-such-item"], "available": []},
    ("POST", "/v1/admin/reload"): {"bundle": "no-such-bundle"},
    ("POST", "/v1/admin/rollback"): None,
    ("GET", "/v1/items/1"): None,
    ("GET", "/v1/items?query=a&limit=5"): None,
    ("GET", "/v1/searches"): None,
    ("GET", "/healthz"): None,
    ("GET", "/readyz"): None,
    ("GET", "/metrics"): None,
    ("GET", "/openapi.json"): None,
    ("GET", "/"): None,
}

ODD: list[Callable[[random.Random], Any]] = [
    lambda draw: None,
    lambda draw: draw.choice([True, False]),
    lambda draw: draw.choice([0, -1, 1, 2**31, 2**63, -(2**63), 10**30]),
    lambda draw: draw.choice([0.0, -0.0, 1e308, -1e308, 1e-320, float("nan"), float("inf")]),
    lambda draw: draw.choice(["", " ", "\0", "\ud800", "é" * 500, "../..", "x" * 5000, "1"]),
    lambda draw: [],
    lambda draw: {},
    lambda draw: ["1"] * draw.choice([1, 300, 12_000]),
    lambda draw: [draw.choice(ODD)(draw) for _ in range(draw.randrange(4))],
    lambda draw: {draw.choice(["", "history", "k", "name"]): draw.choice(ODD)(draw)},
    lambda draw: nested(draw.choice([5, 200, 3000])),
]


def nested(depth: int) -> Any:
    """A list in a list, so many times; as text, since Python's own writer cannot go so deep."""
    return Raw("[" * depth + "]" * depth)


class Raw(str):
    """A text that stands in the JSON as it is."""


def main() -> int:
    """Runs the benchmark; returns the exit status."""
    arguments = parsed()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = [sys.executable, "-m", "sidestep", "serve", str(arguments.bundle)]
        command += ["--port", str(port), "--device", "cpu", "--threads", "1", "--max-k", "50"]
        with (Path(folder) / "log").open("w") as log:
            environment = {**os.environ, "SIDESTEP_ADMIN_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}
            service = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            wait_until_ready(f"http://127.0.0.1:{port}")
            result = asyncio.run(attacked(port, arguments))
        finally:
            service.terminate()
            ended = service.wait(60)
        unforeseen = (Path(folder) / "log").read_text().count('"exception"')
    about = {"benchmark": "bad_requests", "bundle": arguments.bundle.name, "seed": arguments.seed}
    told = {**about, **result, "exceptions_in_log": unforeseen, "exit_status": ended}
    finish({**told, "processor": processor(), "time": now()}, arguments.results)
    is_clean = ended in (0, -signal.SIGTERM)
    is_good = is_clean and not unforeseen and not result["badly_answered"] and result["same_list"]
    return 0 if is_good else 1


def parsed() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="a bundle, or a run")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--at-once", type=int, default=16, help="connections")
    parser.add_argument("--seed", type=int, default=0)
    add_results_option(parser)
    arguments = parser.parse_args()
    arguments.bundle = arguments.bundle.absolute()
    return arguments


async def attacked(port: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Sends all requests, and counts the answers."""
    statuses: Counter[str] = Counter()
    bad: list[str] = []
    left = arguments.requests
    before, began = known_list(port), time.perf_counter()

    async def send(draw: random.Random) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            content = request(draw)
            status = await answered(port, content)
            statuses[status] += 1
            if not is_well(status):
                bad.append(f"{status}: {content[:300]!r}")

    draws = [random.Random(f"{arguments.seed} {number}") for number in range(arguments.at_once)]
    await asyncio.gather(*map(send, draws))
    for line in bad[:MOST_TOLD]:
        print(line, file=sys.stderr)
    return {
        "requests": sum(statuses.values()),
        "statuses": dict(sorted(statuses.items())),
        "badly_answered": len(bad),
        "same_list": known_list(port) == before,
        "seconds": time.perf_counter() - began,
    }


def is_well(status: str) -> bool:
    """Whether a status is no fault of the service; "closed" answers what is no HTTP."""
    return status in ("503", "closed") or (status.isdigit() and int(status) < 500)


def known_list(port: int) -> Any:
    """A list that no bad request may change."""
    body = {"users": [{"history": []}], "k": 10}
    for _ in range(20):  # the queue may still be full
        response = httpx.post(f"http://127.0.0.1:{port}/v1/recommend", json=body, timeout=HANG_S)
        if response.status_code == 200 and response.json()["answers"][0]["degraded"] is None:
            return response.json()["answers"][0]["items"]
        time.sleep(0.5)
    raise SystemExit("the service gives no list any more.")


def request(draw: random.Random) -> bytes:
    """A request with one to three random changes."""
    (method, path), valid = draw.choice([*VALID.items()])
    if draw.random() < 0.6:  # the routes with a body have more that can go wrong
        (method, path), valid = draw.choice([each for each in VALID.items() if each[1]])
    content = changed(draw, valid) if valid is not None else None
    body = b"" if content is None else written(content).encode("utf-8", "surrogatepass")
    headers = {"host": "x", "content-type": "application/json", "authorization": f"Bearer {TOKEN}"}
    length = str(len(body))
    if draw.random() < 0.1:
        body = bytes(draw.randrange(256) for _ in range(draw.randrange(60)))
        length = str(len(body))
    if draw.random() < 0.1:
        body = body[: draw.randrange(len(body) + 1)]
        length = str(len(body))
    if draw.random() < 0.1:
        method = draw.choice(["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW"])
    if draw.random() < 0.1:
        path = draw.choice(
            ["/", "//", "/v1", path + "/", path + "?k=1", "/%00", "/%ff%fe", "/" * 300]
        )
    if draw.random() < 0.1:
        name = draw.choice([*headers, "x-request-id", "expect", "content-encoding"])
        headers[name] = draw.choice(["", "x", "text/plain", "é", "Bearer", "gzip", "a" * 9000])
    if draw.random() < 0.02:
        length = draw.choice(["-1", "x", "99999999999", ""])
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    head = "\r\n".join([*lines, f"content-length: {length}", "connection: close", "", ""])
    return head.encode("latin-1", "replace") + body


def odd(draw: random.Random, value: Any) -> Any:
    """Another value: mostly of the same type, which gets past the check of types."""
    alike: list[Any] = []
    if isinstance(value, int | float) and not isinstance(value, bool):
        alike = [0, 1, -1, 49, 51, 201, 257, 2**31, 2**63, 1.5, 1e308]
    elif isinstance(value, str):
        alike = ["", "1", "2", "item-beam", "exhaustive", "sampling", "ved", "title", "x" * 2000]
    elif isinstance(value, list):
        alike = [[], value * 2, value * 300, ["1"] * 1001]
    return draw.choice(alike) if alike and draw.random() < 0.7 else draw.choice(ODD)(draw)


def changed(draw: random.Random, valid: Any) -> Any:
    """A copy of some JSON with random changes at random places."""
    content = json.loads(json.dumps(valid))
    for name in [*content]:  # fewer fields meet fewer refusals before the one that is tried
        if draw.random() < 0.3 and name not in ("users", "user"):
            del content[name]
    for _ in range(draw.randrange(4)):
        parent: Any = content
        while True:
            keys = [*parent] if isinstance(parent, dict) else [*range(len(parent))]
            if not keys:
                break
            key = draw.choice(keys)
            if isinstance(parent[key], dict | list) and draw.random() < 0.7:
                parent = parent[key]
                continue
            if draw.random() < 0.2:
                del parent[key]
            else:
                parent[key] = odd(draw, parent[key])
            break
    if draw.random() < 0.1:
        content[draw.choice(["kk", "", "__class__"])] = draw.choice(ODD)(draw)
    return content


def written(content: Any) -> str:
    """JSON with all that the standard leaves out: NaN, lone surrogates and texts as they are."""
    if isinstance(content, Raw):
        return str(content)
    if isinstance(content, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{written(v)}" for k, v in content.items()) + "}"
    if isinstance(content, list):
        return "[" + ",".join(map(written, content)) + "]"
    return json.dumps(content)


async def answered(port: int, content: bytes) -> str:
    """The status of the answer; "closed" if there was none, "hang" if nothing came in time."""
    try:
        return await asyncio.wait_for(_status(port, content), HANG_S)
    except TimeoutError:
        return "hang"


async def _status(port: int, content: bytes) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(content)
        if b"content-length: 99999999999" in content:  # the service would wait for the rest
            writer.write_eof()
        line = await reader.readline()
        await reader.read()
        return line.split()[1].decode() if line else "closed"
    except OSError:
        return "closed"
    finally:
        writer.close()


if __name__ == "__main__":
    sys.exit(main())
