"""Commit points of every shape, and texts that are signed whatever they say."""

from __future__ import annotations

import base64
import zlib

from hypothesis import strategies as st

from worker.flow.commit_point import WINDOW, CommitPoint

WATERMARKS = st.integers(0, 1 << 62)
DISTANCES = st.integers(0, WINDOW - 1)
SPANS = st.tuples(DISTANCES, st.integers(1, 600)).map(lambda span: set(range(span[0], min(sum(span), WINDOW))))
STRIDES = st.tuples(DISTANCES, st.integers(1, 97)).map(lambda stride: set(range(stride[0], WINDOW, stride[1])))
MANY_SPANS = st.tuples(SPANS, SPANS, SPANS).map(lambda spans: spans[0] | spans[1] | spans[2])
DONE = st.one_of(st.sets(DISTANCES, max_size=80), SPANS, STRIDES, MANY_SPANS)
# characters() has lone surrogates, too; the rest looks like a UUID without being one in its canonical form.
ODD_UUIDS = st.uuids().flatmap(
    lambda value: st.sampled_from([str(value).upper(), value.hex, value.urn, f"{{{value}}}", f" {value}", f"{value}\n"])
)
JOB_IDS = st.one_of(st.uuids().map(str), ODD_UUIDS, st.text(st.characters(), max_size=256))
JOBS = st.dictionaries(DISTANCES, JOB_IDS, max_size=40)


def point(watermark: int, done: set[int], jobs: dict[int, str]) -> CommitPoint:
    """Distances above the watermark become offsets; what is done has no job."""
    open_jobs = {watermark + at: job for at, job in jobs.items() if at not in done}
    return CommitPoint(watermark, frozenset(watermark + at for at in done), open_jobs)


def signed(body: bytes, mark: str = "ti1:") -> str:
    """A text whose checksum is right, whatever the body says."""
    seed = b"0" if mark == "ti1:" else b"0" + mark.encode()
    checksum = zlib.crc32(body, zlib.crc32(seed)).to_bytes(4, "big")
    return mark + base64.b85encode(checksum + body).decode()
