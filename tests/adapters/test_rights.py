"""A missing right, in the words of Kafka's own tools."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.adapters.kafka.rights import Right


@pytest.mark.parametrize(
    ("right", "named", "flags"),
    [
        (Right("Read", "topic", "in"), "topic in", "--operation Read --topic in"),
        (Right("Read", "group", "g"), "group g", "--operation Read --group g"),
        (
            Right("Write", "transactional id", "g-in-", prefix=True),
            "transactional id g-in-*",
            "--operation Write --transactional-id g-in- --resource-pattern-type prefixed",
        ),
        (Right("IdempotentWrite", "cluster"), "cluster", "--operation IdempotentWrite --cluster"),
    ],
)
def test_it_is_named_and_comes_with_the_command_that_grants_it(right: Right, named: str, flags: str) -> None:
    assert str(right) == named
    assert right.granted_by("intake") == f"kafka-acls.sh --add --allow-principal User:intake {flags}"


def test_who_we_are_is_left_open_where_a_certificate_or_a_token_says_it() -> None:
    assert "--allow-principal User:... " in Right("Read", "topic", "in").granted_by(None)


@given(group=st.text(min_size=1), user=st.text(min_size=1))
def test_a_shell_reads_every_name_as_it_is(group: str, user: str) -> None:
    words = shlex.split(Right("Read", "group", group).granted_by(user))
    assert (words[3], words[-1]) == (f"User:{user}", group)
