"""`sidestep serve`: a bundle answers over HTTP."""

from __future__ import annotations

import importlib.util
import os
import socket
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from sidestep.bundle.manifest import MANIFEST, bundle_folder, read_manifest
from sidestep.cli.search_options import SearchPrecision
from sidestep.lazy_imports import imported_when_used

with imported_when_used():
    from sidestep.service import config as configs
    from sidestep.service import serving

TOKEN = "SIDESTEP_ADMIN_TOKEN"
"""The environment variable with the secret of requests that change the service."""


def serve(
    bundle: Annotated[Path, typer.Argument(help="The bundle, or the run that holds it.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    workers: Annotated[
        int, typer.Option(min=1, help="Workers: processes for HTTP, each with an engine.")
    ] = 1,
    device: Annotated[
        str | None, typer.Option(help="Of the network. [default: a GPU if there is one]")
    ] = None,
    precision: SearchPrecision = "fp32",
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Of the network, per worker. [default: 1 with --workers]"),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="A file that keeps the unavailable items for the next start. [default: forgotten]"
        ),
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(
            help="A dataset whose test histories the page offers. Everyone who reaches the "
            "service can read them."
        ),
    ] = None,
    max_batch: Annotated[int, typer.Option(min=1, help="Users answered together.")] = 32,
    max_wait_ms: Annotated[
        float, typer.Option(min=0, max=1000, help="Time that a user waits for others.")
    ] = 2.0,
    max_queue: Annotated[
        int, typer.Option(min=1, help="Users who may wait; more are refused with 429.")
    ] = 512,
    deadline_ms: Annotated[
        float, typer.Option(min=1, max=600_000, help="Time after which no answer is needed.")
    ] = 1000.0,
    max_k: Annotated[int, typer.Option(min=1, help="The longest list.")] = 200,
    max_users: Annotated[int, typer.Option(min=1, help="Users of one request.")] = 256,
    max_beams: Annotated[int, typer.Option(min=1, help="The widest search.")] = 200,
    log_histories: Annotated[
        bool, typer.Option("--log-histories", help="Write histories into the log.")
    ] = False,
) -> None:
    """Answer requests over HTTP.

    The bundle is loaded and tried on a few histories; until then, requests get 503 and /readyz
    says so. Then POST /v1/recommend takes histories, and /docs describes all routes. The service
    groups requests into batches, refuses what it cannot answer in time, and takes a cheaper search
    when it is late.

    Requests that change the service need a secret: set the environment variable
    SIDESTEP_ADMIN_TOKEN to at least 16 characters. Log lines are JSON, on standard error.

    Examples:

      sidestep serve runs/scientific/together

      sidestep serve runs/shop/bundle --host 0.0.0.0 --port 8080 --workers 4 --state service.json

      curl -s localhost:8000/v1/recommend -H 'content-type: application/json'
      -d '{"users": [{"history": ["B1", "C3"]}], "k": 5}'
    """
    _refuse_missing_extra()
    read_manifest(bundle_folder(bundle) / MANIFEST)  # says at once that there is none
    if examples is not None and not examples.is_dir():
        raise FileNotFoundError(f"--examples {examples}: no dataset here.")
    _refuse_taken(host, port)
    token = os.environ.get(TOKEN) or None
    if token is not None and len(token) < 16:
        raise ValueError(f"{TOKEN} has {len(token)} characters; give at least 16, or unset it.")
    with tempfile.TemporaryDirectory(prefix="sidestep-service-") as folder:
        config = configs.ServiceConfig(
            bundle=bundle.absolute(),
            state=(Path(folder) / "state.json" if state is None else state).absolute(),
            examples=None if examples is None else examples.absolute(),
            device=device,
            precision=precision,
            limits=configs.Limits(k=max_k, users=max_users, beams=max_beams),
            queueing=configs.Queueing(
                max_batch=max_batch,
                max_wait_ms=max_wait_ms,
                max_queue=max_queue,
                deadline_ms=deadline_ms,
            ),
            admin_token=token,
            logs_histories=log_histories,
            num_workers=workers,
            num_threads=threads or (1 if workers > 1 else None),
        )
        where = f"http://{host}:{port}" if port else f"a free port of {host}, see the log"
        # Not among the log lines, which programs read.
        typer.echo(f"Serving {bundle} on {where}; /docs describes the routes. Ctrl-C stops.")
        serving.serve(config, host=host, port=port)


def _refuse_taken(host: str, port: int) -> None:
    """Raises a `ValueError` where nobody can listen: said before the network is loaded."""
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(kind) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError as error:
            raise ValueError(
                f"--host {host} --port {port}: nobody can listen there ({error.strerror}); name "
                "another port, or 0 for a free one."
            ) from error


def _refuse_missing_extra() -> None:
    """Raises an `ImportError` where the extra is not installed."""
    for name in ("fastapi", "uvicorn", "prometheus_client"):
        if importlib.util.find_spec(name) is None:
            raise ImportError(
                f"serving needs {name}, of the extra `serve`: pip install 'sidestep[serve]'."
            )
