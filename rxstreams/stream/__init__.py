"""Stream, lift, and what operators are made of: the blueprint, the operator at work, and the driver of a direct subscription."""

from rxstreams.stream.blueprint import Attachment, Operation, Operator, Stream, attached, operator, source_stream
from rxstreams.stream.cold import Outlet
from rxstreams.stream.node import LOST, UNBOUNDED, Host, Moment, Node, Pace

__all__ = [
    "LOST",
    "UNBOUNDED",
    "Attachment",
    "Host",
    "Moment",
    "Node",
    "Operation",
    "Operator",
    "Outlet",
    "Pace",
    "Stream",
    "attached",
    "operator",
    "source_stream",
]
