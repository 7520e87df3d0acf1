"""Kafka through aiokafka: the source, the publishers, and the rules that keep its traps shut."""
