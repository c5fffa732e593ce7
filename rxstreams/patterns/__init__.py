"""Patterns: which events, in which order, make a match, and what is taken on from after one."""

from rxstreams.patterns.pattern import Pattern, stage
from rxstreams.patterns.results import Match
from rxstreams.patterns.skips import Skips, no_skip, past_last, to_first, to_last, to_next

__all__ = ["Match", "Pattern", "Skips", "no_skip", "past_last", "stage", "to_first", "to_last", "to_next"]
