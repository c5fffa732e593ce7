"""docs/feeds.md: its programs are sound, and what it says of the options is so."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from rxstreams import Stream
from rxstreams.errors import ConfigError
from rxstreams.feeds import http
from rxstreams.feeds.http.feed import Common

PAGE = (Path(__file__).parents[3] / "docs" / "feeds.md").read_text()
FEEDS: dict[str, Any] = {"from_sse": {}, "from_ndjson": {}, "from_websocket": {}, "from_poll": {"every": 1}}


def url(name: str) -> str:
    """One that this feed takes."""
    return "ws://localhost/" if name == "from_websocket" else "http://localhost/"


def test_the_programs_of_the_page_build_their_streams() -> None:
    """One after the other, as they stand there."""
    names: dict[str, Any] = {"__name__": "page"}
    for text in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        exec(compile(text, "docs/feeds.md", "exec"), names)
    streams = sorted(name for name, value in names.items() if isinstance(value, Stream))
    assert streams == ["changes", "issues", "mine", "minutes", "ticks", "trades"]


def test_the_page_is_short_and_names_every_feed() -> None:
    """At most 150 lines."""
    assert len(PAGE.splitlines()) <= 150
    assert all(f"`{name}`" in PAGE for name in FEEDS)


@pytest.mark.parametrize("name", FEEDS)
def test_a_feed_explains_its_arguments(name: str) -> None:
    """Those of its signature in its docstring, which has the three lines; those that all have in ``Common``."""
    function = getattr(http, name)
    text = inspect.getdoc(function) or ""
    args = re.search(r"^Args:\n((?: .*\n|\n)+)", text, re.MULTILINE)
    assert args is not None
    assert re.findall(r"^    (\w+):", args[1], re.MULTILINE) == list(inspect.signature(function).parameters)
    assert re.findall(r"^(Shape|Holds|Ends|Args|Raises|Source):", text, re.MULTILINE) == [
        "Shape", "Holds", "Ends", "Args", "Raises", "Source",
    ]  # fmt: skip
    assert re.findall(r"^    (\w+):", inspect.getdoc(Common) or "", re.MULTILINE) == list(Common.__annotations__)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"untill": "end"}, "no option is called untill"),
    ({"until": "now"}, r"\(until\)"),
    ({"finish": 1}, r"\(finish\)"),
    ({"headers": "x"}, r"\(headers\)"),
    ({"timeout": 0}, r"\(timeout\)"),
    ({"silence": -1}, r"\(silence\)"),
    ({"tries": 0}, r"\(tries\)"),
    ({"rate": 0}, r"\(rate\)"),
    ({"rate": float("nan")}, r"\(rate\)"),
    ({"max_item": 0}, r"\(max_item\)"),
    ({"capacity": 1.5}, r"\(capacity\)"),
    ({"idle_after": 0}, r"\(idle_after\)"),
    ({"timestamp": 3}, r"\(timestamp\): expected a field's name, a function"),
    ({"out_of_orderness": -1}, r"\(out_of_orderness\)"),
    ({"max_ahead": "day"}, r"\(max_ahead\)"),
    ({"on_error": "skip"}, "on_error"),
    ({"advance_when_idle": "yes"}, r"\(advance_when_idle\)"),
    ({"name": ""}, r"\(name\)"),
    ({"ssl_context": "ca.pem"}, r"\(ssl_context\)"),
]


@pytest.mark.parametrize("name", FEEDS)
@pytest.mark.parametrize(("options", "message"), WRONG, ids=lambda value: str(value)[:30])
def test_a_wrong_option_is_told_when_built(name: str, options: dict[str, Any], message: str) -> None:
    """By the name of the feed and of the option."""
    with pytest.raises(ConfigError, match=rf"{name}.*{message}"):
        getattr(http, name)(url(name), **FEEDS[name], **options)


@pytest.mark.parametrize("name", FEEDS)
def test_a_type_that_json_cannot_be_is_told_when_built(name: str) -> None:
    """As msgspec sees it."""
    with pytest.raises(ConfigError, match=rf"{name}\(type\): cannot decode JSON"):
        getattr(http, name)(url(name), dict[int, object] | list[int] | set[int], **FEEDS[name])


@pytest.mark.parametrize("name", FEEDS)
def test_nothing_secret_is_in_what_is_shown_of_a_feed(name: str) -> None:
    """Neither in its id nor in the title that pictures and logs have."""
    secret = url(name).replace("//", "//ann:secret@") + "feed?token=secret#secret"
    operation = getattr(http, name)(secret, **FEEDS[name], headers={"x-key": "secret"}).operation
    assert "secret" not in f"{operation.title} {operation.ends.id}"
    assert operation.ends.id == f"{name.removeprefix('from_')}:{url(name)}feed"
    assert getattr(http, name)(secret, **FEEDS[name], name="mine").operation.ends.id == f"{name.removeprefix('from_')}:mine"
