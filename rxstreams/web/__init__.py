"""Pipelines over HTTP: posts that become records of a topic, and whether a run is well.

intake    a route that appends what is posted, durable before it is acknowledged
health    routes that tell supervisors how a run fares
"""

from rxstreams.web.health import healthz, readyz
from rxstreams.web.intake import Intake

__all__ = ["Intake", "healthz", "readyz"]
