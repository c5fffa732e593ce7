"""Lines out of bytes, however these are cut; what is too long is never held."""

import tracemalloc

from hypothesis import given, strategies as st

from rxstreams.feeds.http.lines import Lines, TooLong


@given(st.lists(st.binary(max_size=12)), st.integers(1, 20), st.booleans())
def test_lines_do_not_depend_on_how_the_bytes_are_cut(parts: list[bytes], longest: int, any_ending: bool) -> None:
    """They are those of the whole, and those that are longer than ``longest``, and only those, are marked."""
    whole = b"".join(parts)
    lines = Lines(longest, any_ending=any_ending)
    found = [line for part in parts for line in lines.split(part)]
    found.append(lines.rest())
    expected = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if any_ending else whole
    assert all(wanted.startswith(line) for line, wanted in zip(found, expected.split(b"\n"), strict=True))
    assert [line.__class__ for line in found] == [TooLong if len(one) > longest else bytes for one in expected.split(b"\n")]
    assert [line for line in found if line.__class__ is bytes] == [one for one in expected.split(b"\n") if len(one) <= longest]


def test_a_line_that_never_ends_is_not_held() -> None:
    """Of 200 MB without an end no more stays than the longest line that is taken, and the next line is whole."""
    lines = Lines(1 << 20)
    tracemalloc.start()
    for _ in range(3200):
        assert lines.split(bytes(65_536)) == []
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3 << 20
    assert held < 1 << 16
    assert lines.split(b"y\nnext\n") == [bytes(200), b"next"]
