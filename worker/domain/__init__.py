"""Pure: what a submission, an analysis, a policy, a decision and a dead letter are."""
