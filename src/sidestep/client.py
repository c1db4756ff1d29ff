"""A client of the service: the same messages, as Python objects."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from sidestep.service.messages import (
    Availability,
    CatalogItem,
    ExplainRequest,
    ExplainResponse,
    ItemsResponse,
    RecommendRequest,
    RecommendResponse,
    Reload,
    ServiceState,
    User,
    UserAnswer,
)

M = TypeVar("M", bound=BaseModel)


class RefusedError(RuntimeError):
    """A request that the service refused.

    status: of HTTP.
    detail: a sentence of the service.
    request_id: under which the service has logged the request.
    retry_after_s: whole seconds after which to try again; None where trying again is no use.
    """

    def __init__(self, response: httpx.Response) -> None:
        try:
            problem = response.json()
        except ValueError:
            problem = {}
        self.status = response.status_code
        self.detail = str(problem.get("detail", response.text[:200]))
        self.request_id = response.headers.get("X-Request-ID")
        after = response.headers.get("Retry-After")
        self.retry_after_s = int(after) if after is not None and after.isdigit() else None
        super().__init__(f"{self.status}: {self.detail}")


class Client:
    """Asks a service; close it, or use it as a context. Threads may share one client."""

    def __init__(
        self, url: str, *, admin_token: str | None = None, timeout_s: float = 30.0
    ) -> None:
        """Names the service.

        Args:
            url: of the service, such as "http://127.0.0.1:8000".
            admin_token: for `set_availability`, `reload` and `roll_back`.
            timeout_s: seconds to wait for an answer.
        """
        headers: dict[bytes, bytes] = {}
        if admin_token is not None:  # as bytes: a header that is a text must be ASCII
            headers[b"Authorization"] = f"Bearer {admin_token}".encode()
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections."""
        self._http.close()

    def recommend(self, history: Sequence[str], k: int = 10, **settings: Any) -> UserAnswer:
        """The list of one user.

        Args:
            history: IDs of past items, oldest first.
            k: the longest list wanted.
            settings: further fields of `RecommendRequest` and of `User`, such as `exclude`.

        Raises:
            RefusedError: the service refused the request.
            httpx.TransportError: nobody answered.
            pydantic.ValidationError: a setting is not valid.
            TypeError: the history is one text.
        """
        if isinstance(history, str):
            raise TypeError(f"history is a list of item IDs, got a text; pass [{history!r:.60}].")
        own = {name: settings.pop(name) for name in User.model_fields if name in settings}
        user = User(history=list(history), **own)
        request = RecommendRequest(users=[user], k=k, **settings)
        return self.recommend_all(request)[0]

    def recommend_all(self, request: RecommendRequest) -> list[UserAnswer]:
        """The lists of several users, in their order.

        Raises:
            RefusedError: see `recommend`.
        """
        return self._post("/v1/recommend", request, RecommendResponse).answers

    def explain(self, request: ExplainRequest) -> ExplainResponse:
        """The search tree of one user.

        Raises:
            RefusedError: see `recommend`; or another search is being explained.
        """
        return self._post("/v1/explain", request, ExplainResponse)

    def item(self, item_id: str) -> CatalogItem:
        """An item of the catalog.

        Raises:
            RefusedError: there is no such item.
        """
        return _read(self._http.get(f"/v1/items/{quote(item_id, safe='')}"), CatalogItem)

    def items(self, query: str, *, limit: int = 20) -> list[CatalogItem]:
        """Items whose title holds all words of the query, and the item of this ID.

        Raises:
            RefusedError: the query is empty or too long.
        """
        response = self._http.get("/v1/items", params={"query": query, "limit": limit})
        return _read(response, ItemsResponse).items

    def set_availability(
        self, *, unavailable: Sequence[str] = (), available: Sequence[str] = ()
    ) -> ServiceState:
        """Takes items out of all lists, and lets others come back.

        Raises:
            RefusedError: the token is wrong, or the catalog has no such item.
        """
        body = Availability(unavailable=list(unavailable), available=list(available))
        return self._post("/v1/admin/availability", body, ServiceState)

    def reload(self, bundle: str | None = None) -> ServiceState:
        """Loads a bundle.

        Args:
            bundle: the name of a folder beside the bundle of the start; None loads the bundle of
                now again.

        Raises:
            RefusedError: the token is wrong, or the bundle was refused; the old one goes on.
        """
        return self._post("/v1/admin/reload", Reload(bundle=bundle), ServiceState)

    def roll_back(self) -> ServiceState:
        """Goes back to the bundle of before the last reload.

        Raises:
            RefusedError: the token is wrong, or there is no way back.
        """
        return self._post("/v1/admin/rollback", None, ServiceState)

    def _post(self, path: str, body: BaseModel | None, kind: type[M]) -> M:
        content = None if body is None else body.model_dump(mode="json", exclude_unset=True)
        return _read(self._http.post(path, json=content), kind)


def _read(response: httpx.Response, kind: type[M]) -> M:
    if response.is_error:
        raise RefusedError(response)
    return kind.model_validate_json(response.content)
