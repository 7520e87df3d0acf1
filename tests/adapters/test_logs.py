"""Facts become lines: one each, by level, with no secret in them, whatever a library logs."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.adapters.sample_facts import DECIDED, FACTS, TRACE, telemetry
from worker.adapters.telemetry.logs import EVENTS, MASK, LibraryMessages, scrub
from worker.pipeline import facts as f

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator


def lines(stream: io.BytesIO) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def test_a_decided_track_is_one_line_with_every_field() -> None:
    told, stream = telemetry("info")
    told(DECIDED)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert (line.pop("event"), line.pop("level")) == ("track_decided", "info")
    plain = f.TrackDecided.__dataclass_fields__.keys() - {"trace", "job_trace"}
    assert line == {name: getattr(DECIDED, name) for name in plain} | {"trace_id": TRACE.trace_id}


def test_a_line_names_no_trace_where_nobody_traces() -> None:
    told, stream = telemetry("info")
    told(replace(DECIDED, trace=None))
    (line,) = lines(stream)
    assert "trace_id" not in line


@pytest.mark.parametrize(
    ("level", "events"),
    [
        ("error", {"admission_held", "outage_began", "partition_stopped"}),
        (
            "warning",
            {
                "admission_held",
                "outage_began",
                "partition_stopped",
                "analysis_bought_again",
                "record_dead_lettered",
                "commit_finished",
                "job_ended",
                "lane_sealed",
            },
        ),
        ("debug", {name for name, _ in EVENTS.values()}),
    ],
)
def test_a_level_drops_what_is_quieter(level: str, events: set[str]) -> None:
    told, stream = telemetry(level)
    for fact in FACTS:
        told(fact)
    assert {line["event"] for line in lines(stream)} == events


def test_a_commit_that_went_well_is_quiet_and_one_that_did_not_is_loud() -> None:
    told, stream = telemetry("warning")
    told(f.CommitFinished(1, "committed", 1, 0.1))
    told(f.CommitFinished(1, "failed", 1, 0.1, "timeout"))
    told(f.LaneSealed(1, "moved", 0))
    told(f.Stopped(4, 1.0))
    assert [(line["event"], line["level"]) for line in lines(stream)] == [
        ("commit_finished", "warning"),
        ("worker_stopped", "warning"),
    ]


@pytest.mark.parametrize("outcome", get_args(f.JobOutcome))
def test_a_job_that_is_not_complete_is_loud(outcome: f.JobOutcome) -> None:
    told, stream = telemetry("info")
    told(f.JobEnded(3, outcome, 7, 60.0, None if outcome == "complete" else "why"))
    (line,) = lines(stream)
    assert (line["event"], line["level"]) == ("job_ended", "info" if outcome == "complete" else "warning")
    assert (line["outcome"], line["tracks_left"], line["seconds"]) == (outcome, 7, 60.0)


def test_a_job_is_a_few_lines_whatever_its_tracks() -> None:
    """Each result of a track is a line only at debug; its decision has one already."""
    told, stream = telemetry("info")
    told(f.JobGathered(3, 0, 9999, 10_000, 30.0))
    told(f.JobAccepted(3, "job-1", 10_000, 0.5))
    for _ in range(100):
        told(f.JobResult("page", "decided"))
    told(f.JobEnded(3, "complete", 0, 1800.0, None))
    told(f.ModeChanged(3, "direct", 0, 0.0))
    assert [line["event"] for line in lines(stream)] == ["job_gathered", "job_accepted", "job_ended", "mode_changed"]


def test_console_lines_are_for_people() -> None:
    told, stream = telemetry("info", "console")
    told(DECIDED)
    told.log.error("fault", error="https://h/a?token=hidden")
    text = stream.getvalue().decode()
    assert "track_decided" in text
    assert "item-101" in text
    assert "hidden" not in text


secret = st.from_regex(r"Zq[A-Za-z0-9_.~+/=\"\\-]{8,40}Zq", fullmatch=True)
around = st.text(max_size=20)


@given(secret=secret, before=around, after=around)
def test_no_bearer_token_and_no_query_gets_out(secret: str, before: str, after: str) -> None:
    """Also not behind characters that JSON escapes; and what is cut leaves valid JSON."""
    told, stream = telemetry()
    user = re.sub(r'[/"\\]', "", secret)
    for text in (
        f"{before} Authorization: Bearer {secret} {after}",
        f"{before} https://cdn.example/a.mp3?signature={secret} {after}",
        f"{before} https://{user}@cdn.example/a.mp3 {after}",
    ):
        told.log.warning("x", message=text, nested={"list": [text]}, exc=text)
    assert len(lines(stream)) == 3
    assert b"Zq" not in stream.getvalue().replace(before.encode(), b"").replace(after.encode(), b"")


def test_keys_that_name_secrets_are_masked_at_any_depth() -> None:
    told, stream = telemetry()
    told.log.info("x", api_key="hidden", deep={"a": [{"Authorization": "hidden", "url": "hidden", "kept": 1}]})
    (line,) = lines(stream)
    assert line["api_key"] == MASK
    assert line["deep"] == {"a": [{"Authorization": MASK, "url": MASK, "kept": 1}]}


def test_an_address_without_query_stays_readable() -> None:
    assert scrub(b'{"a":"https://host/path"}') == b'{"a":"https://host/path"}'
    assert scrub(b'{"a":"https://host/p?x=1","b":2}') == b'{"a":"https://host/p?[redacted]","b":2}'


def test_a_value_that_json_does_not_know_is_named_by_its_type() -> None:
    told, stream = telemetry()
    told.log.info("x", value=object())
    assert lines(stream)[0]["value"] == "<object>"


def broken(key: str) -> None:
    raise ValueError(str(len(key)))


@pytest.mark.parametrize("layout", ["json", "console"])
def test_an_exception_shows_its_trace_and_no_local_variable(layout: str) -> None:
    told, stream = telemetry(layout=layout)
    try:
        broken("hid" + "den")
    except ValueError:
        told.log.exception("fault")
    assert b"ValueError: 6" in stream.getvalue()
    assert b"hidden" not in stream.getvalue()


@pytest.fixture
def library() -> Iterator[logging.Logger]:
    """A library's logger; the root logger gets its handlers back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield logging.getLogger("some.library")
    root.handlers[:] = handlers
    root.setLevel(level)


def test_what_libraries_log_comes_out_in_our_lines(library: logging.Logger) -> None:
    told, stream = telemetry("debug")
    LibraryMessages(told.log).install()
    library.info("quiet")
    library.warning("%s is away, %s", "node 1", "Bearer hidden")
    library.error("broken")
    assert [(line["level"], line["library"], line["message"]) for line in lines(stream)] == [
        ("warning", "some.library", f"node 1 is away, Bearer {MASK}"),
        ("error", "some.library", "broken"),
    ]


def test_what_a_library_repeats_is_written_once_in_a_while_and_counted(library: logging.Logger) -> None:
    told, stream = telemetry("debug")
    now = 0.0
    library.addHandler(LibraryMessages(told.log, clock=lambda: now))
    library.propagate = False
    for step in range(250):
        now = step / 10
        library.error("cannot reach node %d", step % 3)
    library.error("another place")
    said = [(line["message"], line.get("withheld")) for line in lines(stream)]
    assert said == [
        ("cannot reach node 0", None),
        ("cannot reach node 1", 99),
        ("cannot reach node 2", 99),
        ("another place", None),
    ]
