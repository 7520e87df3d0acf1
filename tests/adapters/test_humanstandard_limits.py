"""What the headers say of time: any text is a finite wait or nothing."""

from __future__ import annotations

from email.utils import formatdate

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.adapters.humanstandard.limits import quota_of, retry_after_of
from worker.flow.replies import Quota

NOW = 1_800_000_000.0


def test_the_quota_is_counted_from_the_reply() -> None:
    headers = httpx.Headers(
        {"x-ratelimit-limit": "60", "x-ratelimit-remaining": "3", "x-ratelimit-reset": f"{NOW + 30:.0f}"}
    )
    assert quota_of(headers, wall=NOW) == Quota(60, 3, 30.0)
    headers["date"] = formatdate(NOW - 1, usegmt=True)
    assert quota_of(headers, wall=NOW) == Quota(60, 3, 30.0), "within Date's resolution our clock is finer"
    headers["date"] = formatdate(NOW + 10, usegmt=True)
    assert quota_of(headers, wall=NOW) == Quota(60, 3, 20.0), "the server's moments are of the server's clock"
    assert quota_of(httpx.Headers({"x-ratelimit-limit": "many"}), wall=NOW) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 0.25 ", 0.25),
        ("999999999", 600.0),
        (formatdate(NOW + 9, usegmt=True), 9.0),
        (formatdate(NOW + 3600, usegmt=True), 600.0),
        (formatdate(NOW - 9, usegmt=True), 0.0),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    headers = httpx.Headers({"retry-after": text})
    assert retry_after_of(headers, wall=NOW) == seconds


LATIN = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=40)


@given(reset=LATIN, date=LATIN, after=LATIN)
def test_no_header_raises_and_every_wait_is_finite(reset: str, date: str, after: str) -> None:
    headers = httpx.Headers({"x-ratelimit-reset": reset, "date": date, "retry-after": after}, encoding="latin-1")
    quota, wait = quota_of(headers, wall=NOW), retry_after_of(headers, wall=NOW)
    assert wait is None or 0 <= wait <= 600
    assert quota is None or quota.reset_seconds is None or 0 <= quota.reset_seconds <= 86_400
