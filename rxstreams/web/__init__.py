"""Pipelines over HTTP: posts that become records of a topic, and whether a run is well.

intake    a route that appends what is posted, durable before it is acknowledged
backlog   a bound on what the reader of an intake's topic may leave unread
webhook   an intake for what other services post and sign
serving   uvicorn, with bounds on what clients may keep it waiting for
health    routes that tell supervisors how a run fares
"""

from rxstreams.web.backlog import Backlog
from rxstreams.web.health import healthz, readyz
from rxstreams.web.intake import Intake
from rxstreams.web.serving import serve
from rxstreams.web.webhook import webhook

__all__ = ["Backlog", "Intake", "healthz", "readyz", "serve", "webhook"]
