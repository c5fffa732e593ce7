"""Pipelines over HTTP: posts that become records of a topic.

intake    a route that appends what is posted, durable before it is acknowledged
"""

from rxstreams.web.intake import Intake

__all__ = ["Intake"]
