"""The dashboard *Intake*, for whoever answers for the catalogue: what came in, what was decided and why."""

from __future__ import annotations

from tests.deploy.boards.panels import (
    OBJECTIVE_SECONDS,
    OF_TOPIC,
    Board,
    Panel,
    Query,
    Row,
    increase,
    mix,
    per_minute,
    quantile_of_all,
    quantiles,
    seen,
    selector,
    share,
    total,
)

REVIEWED = 'decision=~"review|manual_review"'
FAILED = 'status!="success"'
_BOUND = f'le="{OBJECTIVE_SECONDS}.0"'
IN_TIME = f"sum(rate({selector('track_age_seconds_bucket', _BOUND)}[$__rate_interval]))"
COMMITTED = f"sum(rate({selector('track_age_seconds_count')}[$__rate_interval]))"
LEFT = f"{total('partition_lag_records')} - {total('partition_done_above_watermark')}"

NOW = Row(
    "In the time shown",
    (
        Panel(
            "Tracks received",
            "Records that workers fetched. After a restart some are fetched again, so this may exceed what was sent.",
            "short",
            (Query(increase("records_received"), "received"),),
            kind="number",
            width=4,
        ),
        Panel(
            "Tracks decided",
            "Decisions made. An event that is submitted twice counts twice.",
            "short",
            (Query(increase("decisions"), "decided"),),
            kind="number",
            width=4,
        ),
        Panel(
            "Review share",
            "Decisions that go to people. A jump: a new model at the API, or another policy; see the tiers below.",
            "percentunit",
            (Query(share(increase("decisions", more=REVIEWED), increase("decisions")), "to review"),),
            kind="number",
            width=4,
            most=1,
        ),
        Panel(
            "Failed share",
            "Decisions without a result: the analysis failed, or came not in time. They are in review, too.",
            "percentunit",
            (Query(share(increase("analyses", more=FAILED), increase("analyses")), "failed"),),
            kind="number",
            width=4,
            warn_above=0.05,
            most=1,
        ),
        Panel(
            "Left to do",
            "Records in the topic that have no outcome yet.",
            "short",
            (Query(LEFT, "left"),),
            kind="number",
            width=4,
        ),
        Panel(
            "Age, 95 % below",
            "From the event's own timestamp to the commit of its decision.",
            "s",
            (Query(quantile_of_all(0.95, "track_age_seconds"), "95 %"),),
            kind="number",
            width=4,
            warn_above=OBJECTIVE_SECONDS,
        ),
    ),
)
FLOW = Row(
    "Tracks in, decisions out",
    (
        Panel(
            "In and out",
            "Received far above decided: a backlog grows. Decided without received: a backlog shrinks.",
            "cpm",
            (Query(per_minute("records_received"), "received"), Query(per_minute("decisions"), "decided")),
        ),
        Panel(
            "Decisions by outcome",
            "Each decision goes to the topic of its outcome.",
            "cpm",
            (Query(per_minute("decisions", "decision"), "{{decision}}"),),
            kind="stack",
        ),
        Panel(
            "Decisions by policy",
            "Events may name a policy; the others get the default one.",
            "cpm",
            (Query(per_minute("decisions", "policy"), "{{policy}}"),),
            kind="stack",
        ),
        Panel(
            "Why: reasons of decisions",
            "analysis_failed and analysis_timeout are failures, the others findings. Approvals need no reason (none).",
            "cpm",
            (Query(seen(per_minute("decisions", "decision, reason")), "{{decision}}: {{reason}}"),),
            kind="stack",
            width=12,
        ),
        Panel(
            "Outcome mix",
            "The share of each outcome. Steady in the long run: a change of level has a cause.",
            "percentunit",
            (Query(mix("decisions", "decision"), "{{decision}}"),),
            kind="share",
            width=12,
            most=1,
        ),
    ),
)


def _tier(name: str) -> Panel:
    one = f'tier="{name}"'
    return Panel(
        f"Tier {name}",
        "What this tier said of the decided tracks. not_evaluated grows: is the tier enabled for the account? unknown: "
        "the API has new words, which go to review.",
        "percentunit",
        (Query(mix("tier_outcomes", "value", one), "{{value}}"),),
        kind="share",
        most=1,
    )


def _tier_by_policy(name: str) -> Panel:
    shares = mix("tier_outcomes", "value", f'tier="{name}"', within="policy", only='value!="human"')
    return Panel(
        f"Tier {name}, by policy",
        "The same within each policy, without human. It jumps for one policy: other tracks. For all: a new model.",
        "percentunit",
        (Query(shares, "{{policy}}: {{value}}"),),
        most=1,
    )


TIERS = ("press_safe", "human_safe", "recall")
EVIDENCE = Row("What the tiers say", (*map(_tier, TIERS), *map(_tier_by_policy, TIERS)))
REVIEW = Row(
    "What goes to people, and what goes wrong",
    (
        Panel(
            "Review share by policy",
            "A jump of one policy: the policy was changed. Of all: the findings have changed.",
            "percentunit",
            (
                Query(
                    share(per_minute("decisions", "policy", REVIEWED), per_minute("decisions", "policy")), "{{policy}}"
                ),
            ),
            most=1,
        ),
        Panel(
            "Failed analyses",
            "By how they ended. When the cause is mended: track-intake decide-again.",
            "cpm",
            (Query(per_minute("analyses", "status", FAILED), "{{status}}"),),
            kind="stack",
        ),
        Panel(
            "Dead letters",
            "Records that are no event, by what is wrong with them. The producer breaks the contract; headers of the "
            "dead letter name the field.",
            "cpm",
            (Query(per_minute("dead_letters", "reason"), "{{reason}}"),),
            kind="stack",
        ),
    ),
)
AGE = Row(
    "How long it takes",
    (
        Panel(
            "Age when decided",
            "From the event's timestamp to the commit of its decision: what the submitter has waited.",
            "s",
            quantiles("track_age_seconds", 0.5, 0.95, 0.99),
        ),
        Panel(
            f"Decided within {OBJECTIVE_SECONDS // 60} minutes",
            "The alerts' objective is 95 % while the API is up.",
            "percentunit",
            (Query(share(IN_TIME, COMMITTED), "in time"),),
            most=1,
        ),
        Panel(
            "Oldest event without an outcome",
            "By its own timestamp. It grows by a second a second: it is stuck, see Worker.",
            "s",
            (Query(f"max({selector('partition_oldest_event_seconds', chosen=OF_TOPIC)})", "oldest event"),),
        ),
    ),
)
INTAKE = Board(
    "track-intake-intake",
    "Track intake: Intake",
    "Tracks in, decisions by outcome and reason, what the tiers say, what goes to people, and how long it takes.",
    "now-24h",
    (NOW, FLOW, EVIDENCE, REVIEW, AGE),
)
