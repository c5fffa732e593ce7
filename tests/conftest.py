"""What all tests share: how hypothesis searches; and what long tests have to tell, by ``record_property("told", text)``.

It stands at the end, whatever process a test ran in.
"""

import os

import pytest
from hypothesis import settings

settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have told."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, text in report.user_properties:
            if name == "told" and report.when == "call":
                terminalreporter.section(report.nodeid, sep="-")
                terminalreporter.line(str(text))
