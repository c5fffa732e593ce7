"""Guards of the HTTP feeds."""

from tests.mutants.guard import mutant

SSE = "tests/feeds/http/test_sse.py::test_"
GOING_ON = "tests/feeds/http/test_going_on.py::test_"
BAD = "tests/feeds/http/test_bad_items.py::test_"
LINES = "tests/feeds/http/test_lines.py::test_"
RETRYING = "tests/feeds/http/test_retrying.py::test_"
POLL = "tests/feeds/http/test_poll.py::test_"
SOCKET = "tests/feeds/http/test_websocket.py::test_"
MERGING = "tests/feeds/http/test_merging.py::test_"

MUTANTS = [
    # Going on.
    mutant(
        "feeds: going on after the last event",
        "feeds/http/sse.py",
        '                headers["last-event-id"] = memory.last\n',
        "                pass\n",
        f"{GOING_ON}a_run_that_is_started_again_goes_on_after_what_it_committed",
    ),
    mutant(
        "feeds: what is saved of a part of what came together",
        "feeds/http/sse.py",
        "[*before, *new[:n]]",
        "[*before, *new]",
        f"{GOING_ON}a_run_that_is_started_again_goes_on_after_what_it_committed",
    ),
    mutant(
        "feeds: an event that came before",
        "feeds/http/sse.py",
        "            if one not in known or own is None:\n",
        "            if True:\n",
        f"{SSE}a_server_that_begins_again_with_the_last_event_or_goes_back_doubles_nothing",
    ),
    mutant(
        "feeds: a known id with other data is a new event",
        "feeds/http/sse.py",
        "one = (own, crc32(data))",
        "one = (own, 0)",
        f"{SSE}a_server_that_counts_anew_loses_nothing",
    ),
    mutant(
        "feeds: what was dropped is told",
        "feeds/http/sse.py",
        "                    memory.tell(connection)\n",
        "                    pass\n",
        f"{SSE}what_came_before_is_told_once_per_connection",
    ),
    mutant(
        "feeds: the memory of ids is saved",
        "feeds/http/sse.py",
        "[*before, *new[:n]][-self.remember :]",
        "[*before, *new[:n]][-1:]",
        f"{SSE}ids_are_remembered_through_a_restart",
    ),
    mutant(
        "feeds: the memory of ids is bounded",
        "feeds/http/sse.py",
        "            self.known = set(self.kept)\n        return values, new",
        "        return values, new",
        f"{SSE}only_the_last_ids_are_remembered",
    ),
    mutant(
        "feeds: an event without an id",
        "feeds/http/sse.py",
        "        if any(own is None for own, _ in new):\n",
        "        if False:\n",
        f"{SSE}an_event_without_an_id_is_an_error_that_names_the_remedy",
    ),
    mutant(
        "feeds: an id is for its own event",
        "feeds/http/parsing.py",
        '                self.id, self.name = None, b"message"\n',
        '                self.name = b"message"\n',
        f"{SSE}an_id_is_that_of_its_own_event",
    ),
    mutant(
        "feeds: where to go on after some of the lines",
        "feeds/http/resuming.py",
        "else self._after(values, n, before)",
        "else after",
        f"{GOING_ON}a_run_that_is_started_again_goes_on_after_what_it_committed",
    ),
    mutant(
        "feeds: a line that the connection broke off",
        "feeds/http/ndjson.py",
        "                if reading.ends or _is_whole(response):\n",
        "                if True:\n",
        f"{BAD}what_a_connection_broke_off_is_no_item_where_its_end_is_not_told",
    ),
    # What is too long or wrong.
    mutant(
        "feeds: a byte order mark",
        "feeds/http/lines.py",
        "        return line.removeprefix(BYTE_ORDER_MARK)\n",
        "        return line\n",
        f"{BAD}a_byte_order_mark_is_no_part_of_an_item",
    ),
    mutant(
        "feeds: a first line that is too long",
        "feeds/http/lines.py",
        "        if self.begun or line.__class__ is TooLong:\n",
        "        if self.begun:\n",
        f"{SSE}an_event_that_is_too_long_is_one_in_the_first_line_too",
    ),
    mutant(
        "feeds: a page for people that says it is JSON",
        "feeds/http/poll.py",
        "[bytes(msgspec.json.decode(body, type=msgspec.Raw))]",
        "[body]",
        f"{POLL}a_page_for_people_is_no_item_whatever_its_type_says",
    ),
    mutant(
        "feeds: a line without an end is not held",
        "feeds/http/lines.py",
        "        if self.size > self.longest:\n",
        "        if False:\n",
        f"{LINES}a_line_that_never_ends_is_not_held",
    ),
    mutant(
        "feeds: an event of many lines is not held",
        "feeds/http/parsing.py",
        "        if line.__class__ is TooLong or self.size > self.longest:\n",
        "        if line.__class__ is TooLong:\n",
        f"{SSE}an_event_of_many_lines_that_is_too_long_is_not_held",
    ),
    mutant(
        "feeds: an item that is too long is a bad one",
        "feeds/http/feed.py",
        "        if value.__class__ is TooLong:\n",
        "        if False:\n",
        f"{BAD}a_hundred_megabytes_in_one_line_are_a_bad_item_that_is_never_held",
    ),
    mutant(
        "feeds: a page for people",
        "feeds/http/connection.py",
        "        if refused(kind):\n",
        "        if False:\n",
        f"{BAD}a_page_for_people_is_an_error_that_says_what_came",
    ),
    mutant(
        "feeds: a message of many frames is not held",
        "feeds/http/sockets.py",
        "        if self.size <= self.reading.max_item:\n",
        "        if True:\n",
        f"{SOCKET}a_message_that_is_too_long_is_a_bad_item_on_a_connection_that_goes_on",
    ),
    mutant(
        "feeds: two feeds that differ in the query only",
        "runtime/naming.py",
        '    if getattr(one, "urls", None) != getattr(other, "urls", None):\n',
        "    if False:\n",
        f"{GOING_ON}two_feeds_that_differ_in_the_query_only_need_names",
    ),
    mutant(
        "feeds: an end that is none of the input",
        "feeds/http/feed.py",
        'get("finish", True)',
        "True",
        f"{GOING_ON}a_feed_that_does_not_finish_goes_on_with_a_later_start",
    ),
    # Trying again.
    mutant(
        "feeds: doubtful failures are counted apart",
        "feeds/http/retrying.py",
        "self.doubtful >= error.tries",
        "self.failures >= error.tries",
        f"{POLL}what_a_retry_may_mend_or_not_is_counted_apart_from_what_it_mends",
    ),
    mutant(
        "feeds: what no retry mends",
        "feeds/http/connection.py",
        "        if status >= 500 or status in (408, 425, 429):\n",
        "        if status >= 400:\n",
        f"{RETRYING}what_no_retry_mends_is_told_at_once",
    ),
    mutant(
        "feeds: Retry-After",
        "feeds/http/connection.py",
        'after=retry_after(response.headers.get("retry-after"))',
        "after=None",
        f"{RETRYING}what_a_server_says_of_the_next_try_is_waited",
    ),
    mutant(
        "feeds: a server's word on waits is bounded",
        "feeds/http/retrying.py",
        "min(after, MOST_WAIT)",
        "after",
        f"{RETRYING}no_server_has_a_feed_wait_for_more_than_ten_minutes",
    ),
    mutant(
        "feeds: a wait of absurdly many digits",
        "feeds/http/parsing.py",
        " and len(value) <= LONGEST_NUMBER",
        "",
        f"{RETRYING}an_absurd_retry_of_an_event_stream_is_ignored",
    ),
    mutant(
        "feeds: a redirect to what is no url",
        "feeds/http/connection.py",
        "                _check_askable(request.url)\n",
        "                pass\n",
        f"{RETRYING}a_redirect_to_what_is_no_url_is_told",
    ),
    mutant(
        "feeds: a next url that is none",
        "feeds/http/connection.py",
        "            _check_askable(target)\n",
        "",
        f"{POLL}a_next_url_that_is_none_is_told",
    ),
    mutant(
        "feeds: the count of failures begins anew",
        "feeds/http/retrying.py",
        "            patience.came()\n",
        "",
        f"{RETRYING}a_feed_gives_up_after_as_many_tries_as_it_may_have",
    ),
    mutant(
        "feeds: one line when lost",
        "feeds/http/retrying.py",
        "        if not self.gone:\n",
        "        if True:\n",
        f"{RETRYING}the_log_says_once_that_a_feed_is_lost_and_once_that_it_is_back",
    ),
    mutant(
        "feeds: silence of a connection",
        "feeds/http/connection.py",
        "read=self.silence",
        "read=None",
        f"{RETRYING}a_server_that_stalls_in_the_middle_of_an_item_is_left_after_some_silence",
    ),
    mutant(
        "feeds: headers are for their host",
        "feeds/http/connection.py",
        '            self._check_origin(request.url, "a redirect")\n',
        "",
        f"{RETRYING}a_redirect_is_followed_but_headers_go_to_their_host_only",
    ),
    mutant(
        "feeds: headers are for their port and scheme",
        "feeds/http/connection.py",
        "_origin(url) != _origin(httpx2.URL(self.place.url))",
        "url.host != httpx2.URL(self.place.url).host",
        f"{RETRYING}headers_go_neither_to_another_port_nor_from_https_to_http",
    ),
    mutant(
        "feeds: nothing secret is shown",
        "feeds/http/connection.py",
        "parts.netloc.rpartition('@')[2]",
        "parts.netloc",
        f"{RETRYING}what_no_retry_mends_is_told_at_once",
    ),
    mutant(
        "feeds: a silent WebSocket is pinged",
        "feeds/http/sockets.py",
        "                if pinged:\n",
        "                if False:\n",
        f"{SOCKET}a_server_that_is_silent_is_pinged_and_left_when_it_stays_so",
    ),
    # Pages.
    mutant(
        "feeds: items of a page that were taken",
        "feeds/http/poll.py",
        "        skipped = min(at.taken, size) if self.next is not None or digest == at.digest else 0\n",
        "        skipped = 0\n",
        f"{POLL}a_run_that_is_started_again_goes_on_in_the_middle_of_a_page",
    ),
    mutant(
        "feeds: a version is told only of what was taken as a whole",
        "feeds/http/poll.py",
        "At(at.cursor, skipped + n, digest=digest)",
        'At(at.cursor, skipped + n, page.headers.get("etag"), digest=digest)',
        f"{POLL}a_response_that_was_taken_in_part_is_not_said_to_be_known",
    ),
    mutant(
        "feeds: a page without new items is waited for",
        "feeds/http/poll.py",
        "                if not (turned and piece.values):\n",
        "                if not turned:\n",
        f"{POLL}a_page_without_new_items_is_waited_for",
    ),
    mutant(
        "feeds: items that stay on a page are not forgotten",
        "feeds/http/known.py",
        "        self.most = max(remember, len(here))\n",
        "        self.most = remember\n",
        f"{POLL}as_many_ids_are_kept_as_a_response_has",
    ),
    mutant(
        "feeds: items that came before, by their ids",
        "feeds/http/known.py",
        " if one not in known}",
        "}",
        f"{POLL}with_ids_each_item_comes_once_wherever_in_the_list_it_stands",
    ),
    mutant(
        "feeds: ids after some of the items",
        "feeds/http/poll.py",
        "ids=news.after(n))",
        "ids=news.after(len(news.new)))",
        f"{POLL}with_ids_a_run_that_is_started_again_goes_on_in_the_middle_of_a_page",
    ),
    # Several urls.
    mutant(
        "feeds: idle urls",
        "feeds/http/merging.py",
        "                    self.idle.add(partition)\n",
        "                    self.idle.add(partition)\n                    continue\n",
        f"{MERGING}a_url_without_items_does_not_hold_time_back_for_ever",
    ),
]
