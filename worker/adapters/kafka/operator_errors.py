"""What only the operator can mend: each ends the process, and its text says what to do."""

from __future__ import annotations


class SeatTakenError(Exception):
    """Two processes have the same static member id, and each takes the seat from the other: one has to go."""

    def __init__(self, seat: str) -> None:
        super().__init__(
            f"another process joins the group as KAFKA_GROUP_INSTANCE_ID={seat}, again and again: "
            "give every replica an id of its own, and see that the earlier one with this id has ended"
        )


class NoCommittedOffsetError(Exception):
    """KAFKA_AUTO_OFFSET_RESET is none and the group has no offset: the operator must choose where to begin."""

    def __init__(self, topic: str, partition: int) -> None:
        super().__init__(
            f"the group has no committed offset for {topic}/{partition} and KAFKA_AUTO_OFFSET_RESET is none: "
            "set it to earliest or latest, or commit an offset with kafka-consumer-groups"
        )
