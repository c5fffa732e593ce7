"""Doubles and contract suites for testing pipelines, and what a user brings to them."""
