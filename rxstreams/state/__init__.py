"""What operators remember: keys, codec, timers, and the contract of keyed operators. Saving it is the runtime's business."""

from rxstreams.state.codec import PLAIN, TAGGED, StateCodec, typed
from rxstreams.state.keyed import Context, KeyedOperator
from rxstreams.state.keys import internal, internal_all, original
from rxstreams.state.timers import NEVER, Timers

__all__ = [
    "NEVER",
    "PLAIN",
    "TAGGED",
    "Context",
    "KeyedOperator",
    "StateCodec",
    "Timers",
    "internal",
    "internal_all",
    "original",
    "typed",
]
