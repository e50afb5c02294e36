"""Scorer: reads frames from the bus and gives every one of them a verdict."""
