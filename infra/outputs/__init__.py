"""Verdicts go out: to Kafka, a webhook and machines, each at its own pace, at least once, in the order of each camera."""
