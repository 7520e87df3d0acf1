"""What goes wrong when: a seeded plan, drawn before the run, so that a seed gives the same run again.

Three tracks of trouble go on at once: processes, brokers, the API. Within a track one fault follows the other, so that
each can heal; across tracks they overlap as they please. A track deals its faults like cards: every kind comes before
any comes again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Card:
    """A kind of fault: how long it lasts and how long its track rests afterwards, (least, most) seconds."""

    kind: str
    lasts: tuple[float, float]
    rest: tuple[float, float] = (2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Step:
    """One fault: it begins so many seconds after the start. `target` says whom it hits, modulo how many there are."""

    at: float
    seconds: float
    track: str
    kind: str
    target: int


NOW = (0.0, 0.0)
TRACKS: dict[str, tuple[Card, ...]] = {
    "process": (
        Card("kill_9", NOW, (5.0, 9.0)),
        Card("kill_9_again", NOW, (5.0, 9.0)),
        Card("zombie", (5.0, 7.0)),
        Card("usurped_seat", (3.0, 5.0)),
        Card("sigterm", NOW),
        Card("join", (4.0, 8.0)),
        Card("leave", (4.0, 8.0)),
        Card("clock_set_back", (4.0, 6.0)),
        Card("partitions_added", NOW),
    ),
    "broker": (
        Card("broker_killed", (3.0, 6.0), (6.0, 9.0)),
        Card("coordinator_moved", NOW, (4.0, 6.0)),
        Card("brokers_unreachable", (9.0, 11.0), (6.0, 9.0)),
        Card("broker_asleep", (4.0, 6.0), (4.0, 6.0)),
        Card("connections_reset", NOW),
        Card("network_slow", (3.0, 6.0)),
        Card("replies_lost", (2.0, 4.0), (4.0, 6.0)),
        Card("disk_full", (3.0, 5.0), (6.0, 9.0)),
    ),
    "api": (
        Card("throttle", (2.0, 3.0)),
        Card("throttle_without_retry_after", (2.0, 3.0)),
        Card("error_500", (2.0, 4.0)),
        Card("error_502_html", (2.0, 4.0)),
        Card("error_503", (2.0, 4.0)),
        Card("cdn_refused", (2.0, 3.0)),
        Card("key_revoked", (2.0, 4.0)),
        Card("drop_after_accept", NOW),
        Card("never_ends", NOW),
        Card("slow_body", (1.0, 2.0)),
        Card("not_json", NOW),
        Card("wrong_types", NOW),
        Card("outage", (8.0, 12.0), (4.0, 8.0)),
    ),
}

KINDS = frozenset(card.kind for cards in TRACKS.values() for card in cards)


def plan(seed: int, seconds: float, among: Collection[str], calm: float = 1.0) -> list[Step]:
    """Draw a run's faults, among these kinds, in the order of their beginnings; each has ended by `seconds`.

    `calm` lengthens every rest: with more of it faults meet less often, and each can be seen for itself.
    """
    steps = list[Step]()
    for track, cards in TRACKS.items():
        steps += _deal(track, [card for card in cards if card.kind in among], seed, seconds, calm)
    return sorted(steps, key=lambda step: (step.at, step.track))


def shortest() -> float:
    """Seconds in which every kind fits at least once, whatever the seed."""
    return 1 + max(sum(card.lasts[1] + card.rest[1] for card in cards) for cards in TRACKS.values())


def _deal(track: str, cards: Sequence[Card], seed: int, seconds: float, calm: float) -> Iterator[Step]:
    draw = random.Random(f"{seed}-{track}")  # noqa: S311 - a reproducible run, no secret
    at = draw.uniform(0.0, 1.0)
    while cards:
        for card in draw.sample(cards, len(cards)):
            lasts = draw.uniform(*card.lasts)
            if at + lasts > seconds:
                return
            yield Step(at, lasts, track, card.kind, draw.randrange(1 << 16))
            at += lasts + calm * draw.uniform(*card.rest)
