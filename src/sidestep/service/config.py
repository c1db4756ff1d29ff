"""Settings of a service: what one request may ask for, and how requests wait for each other."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sidestep.precision import Precision


class Limits(BaseModel):
    """The most that one request may ask for; a larger request is refused with 413 or 422."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    users: int = Field(256, ge=1)
    """Users of one request."""

    k: int = Field(200, ge=1)
    """Length of a list."""

    history: int = Field(1000, ge=1)
    """Items of one history."""

    item_ids: int = Field(10_000, ge=1)
    """IDs of one list of items to leave out, or of the only items wanted."""

    beams: int = Field(200, ge=1)
    """Prefixes that a search keeps per level, and candidates per prefix of a wider search."""

    exhaustive_items: int = Field(50_000, ge=0)
    """Items of a catalog that exhaustive searches may be asked for."""

    body_bytes: int = Field(4_000_000, ge=1000)
    """Bytes of the body of a request."""


class Queueing(BaseModel):
    """Times and numbers of requests that wait for each other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_batch: int = Field(32, ge=1)
    """Users that are answered together."""

    max_wait_ms: float = Field(2.0, ge=0, le=1000)
    """Milliseconds that the first user of a batch waits for others."""

    max_queue: int = Field(512, ge=1)
    """Users who wait; one more is refused with 429."""

    deadline_ms: float = Field(1000.0, gt=0, le=600_000)
    """The longest deadline of a request in milliseconds. A request may ask for a shorter one."""


class ServiceConfig(BaseModel):
    """All settings of a service, as its processes read them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Path
    """The bundle, or the run that holds the bundle."""

    state: Path
    """The file that all workers share, see `sidestep.service.state`."""

    examples: Path | None = None
    """A dataset whose test histories everyone may see; None shows none."""

    device: str | None = None
    """The device of the network; None takes a GPU if there is one."""

    precision: Precision = "fp32"
    """The precision of the layers of the network in searches."""

    limits: Limits = Limits()
    queueing: Queueing = Queueing()

    admin_token: str | None = Field(None, min_length=16, repr=False)
    """The secret of requests that change the service; None refuses all of them."""

    logs_histories: bool = False
    """Whether log lines hold histories."""

    num_workers: int = Field(1, ge=1)
    """Workers: each is a process that speaks HTTP and an engine."""

    num_threads: int | None = Field(None, ge=1)
    """Threads of the network in each engine; None leaves the choice to torch."""

    @model_validator(mode="after")
    def _queue_holds_a_request(self) -> "ServiceConfig":
        """Refuses a queue that could never take the largest request."""
        if self.limits.users > self.queueing.max_queue:
            raise ValueError(
                f"a request may have {self.limits.users} users, but only "
                f"{self.queueing.max_queue} may wait; raise --max-queue, or lower --max-users"
            )
        return self
