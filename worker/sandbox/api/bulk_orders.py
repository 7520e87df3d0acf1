"""What a job is asked to contain: the body of `POST /jobs` and the lines of a manifest, checked and packed.

An item is kept as the beginning of its result's line, in one block of bytes for the whole job: its address is only
needed when it is accepted, and 100,000 items as Python objects would be a hundred megabytes.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import orjson

from worker.sandbox.api.answers import Answer, error

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_ITEMS: Final = 10_000
_MAX_ID: Final = 512


@dataclass(frozen=True, slots=True)
class Items:
    """The items of one job, in the order they were given. `addresses` is empty once they are accepted."""

    heads: bytes = field(repr=False)
    ends: array[int] = field(repr=False)
    addresses: list[str] = field(repr=False)

    def __len__(self) -> int:
        return len(self.ends)

    def head(self, position: int) -> bytes:
        """Give the item's id and metadata as the inside of a JSON object."""
        return self.heads[self.ends[position - 1] if position else 0 : self.ends[position]]

    def accepted(self) -> Items:
        """Keep what results need."""
        return Items(self.heads, self.ends, [])


@dataclass(frozen=True, slots=True)
class Order:
    """A job as it was asked for; the items of a manifest are still to be fetched."""

    name: str
    webhook_url: str | None
    items: Items | None
    manifest_url: str | None


class OrderError(ValueError):
    """What was asked for is no job; the message says why."""

    def answer(self) -> Answer:
        """Say it as the API does."""
        return error(422, "validation_error", str(self))


def read_order(body: bytes) -> Order:
    """Read the body of a creation. Raises OrderError."""
    wanted = _loaded(body)
    if not isinstance(wanted, dict):
        raise OrderError("The body must be a JSON object.")
    name, items, manifest_url = wanted.get("name"), wanted.get("items"), wanted.get("manifest_url")
    if not isinstance(name, str) or not name:
        raise OrderError("name is required.")
    if (items is None) == (manifest_url is None):
        raise OrderError("Provide exactly one of items and manifest_url.")
    return Order(
        name,
        _loopback(wanted.get("webhook_url"), "webhook_url"),
        None if items is None else _listed(items),
        _loopback(manifest_url, "manifest_url"),
    )


def read_manifest(body: bytes) -> Items:
    """Read a manifest, which may hold any number of items. Raises OrderError."""
    return _packed(_loaded(line) for line in body.splitlines() if line.strip())


def _loaded(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise OrderError("Not JSON.") from None


def _listed(items: Any) -> Items:
    if not isinstance(items, list) or len(items) > MAX_ITEMS:
        raise OrderError(f"items must be a list of at most {MAX_ITEMS}.")
    return _packed(items)


def _packed(items: Iterable[Any]) -> Items:
    heads, ends, addresses, seen = bytearray(), array("I"), list[str](), set[str]()
    for number, item in enumerate(items):
        item_id, address, metadata = _item(item, number)
        if item_id in seen:
            raise OrderError(f"items[{number}].item_id occurs twice.")
        seen.add(item_id)
        echoed = {"item_id": item_id} if metadata is None else {"item_id": item_id, "metadata": metadata}
        heads += orjson.dumps(echoed)[1:-1]
        ends.append(len(heads))
        addresses.append(address)
    if not ends:
        raise OrderError("A job has at least one item.")
    return Items(bytes(heads), ends, addresses)


def _item(item: Any, number: int) -> tuple[str, str, dict[str, Any] | None]:
    if not isinstance(item, dict):
        raise OrderError(f"items[{number}] must be an object.")
    item_id, metadata = item.get("item_id"), item.get("metadata")
    if not isinstance(item_id, str) or not 0 < len(item_id) <= _MAX_ID:
        raise OrderError(f"items[{number}].item_id is required.")
    given = [item[name] for name in ("url", "file_id") if item.get(name) is not None]
    if len(given) != 1 or not isinstance(given[0], str) or not given[0]:
        raise OrderError(f"items[{number}]: provide exactly one of url and file_id.")
    if metadata is not None and not isinstance(metadata, dict):
        raise OrderError(f"items[{number}].metadata must be an object.")
    return item_id, given[0], metadata


def _loopback(address: Any, name: str) -> str | None:
    """Accept addresses of this machine only: a sandbox must not call strangers."""
    if address is None:
        return None
    try:
        parts = urlsplit(address if isinstance(address, str) else "")
        local = parts.hostname == "localhost" or ip_address(parts.hostname or "").is_loopback
    except ValueError:
        local = False
    if not local or parts.scheme != "http":
        raise OrderError(f"{name}: the sandbox calls http addresses of the loopback only.")
    return str(address)
