"""The shop and the demos run on Kafka as they do on SQLite, nothing changed but the broker's URL: the same tests, once more."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines.conftest import Modules, ended_at_last, free_port
from tests.pipelines.test_demo import (
    test_a_second_demo_goes_on_from_the_totals_also_after_servers_were_killed,
    test_served_totals_equal_acknowledged_posts_when_processes_are_killed,
    test_the_demo_ends_at_a_signal_and_leaves_no_process,
    test_the_last_window_closes_when_no_more_orders_come,
)
from tests.pipelines.test_fraud import (
    test_a_pipeline_that_is_killed_before_the_third_failed_payment_alerts_once_when_it_is_back,
    test_a_user_with_three_failed_payments_is_blocked_until_an_operator_unblocks_and_again_after_three_more,
    till,
)
from tests.pipelines.test_samples import (
    test_a_duplicate_is_one_still_after_the_process_was_killed,
    test_counting_follows_the_topic_and_goes_on_after_a_restart,
    test_joining_follows_the_topics_and_waits_for_payments_still_after_it_was_killed,
)

__all__ = [
    "free_port",
    "test_a_duplicate_is_one_still_after_the_process_was_killed",
    "test_a_pipeline_that_is_killed_before_the_third_failed_payment_alerts_once_when_it_is_back",
    "test_a_second_demo_goes_on_from_the_totals_also_after_servers_were_killed",
    "test_a_user_with_three_failed_payments_is_blocked_until_an_operator_unblocks_and_again_after_three_more",
    "test_counting_follows_the_topic_and_goes_on_after_a_restart",
    "test_joining_follows_the_topics_and_waits_for_payments_still_after_it_was_killed",
    "test_served_totals_equal_acknowledged_posts_when_processes_are_killed",
    "test_the_demo_ends_at_a_signal_and_leaves_no_process",
    "test_the_last_window_closes_when_no_more_orders_come",
    "till",
]
pytestmark = [pytest.mark.servers, pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture
def modules(kafka: str, tmp_path: Path) -> Iterator[Modules]:
    """Run pipelines on Kafka."""
    yield from ended_at_last(Modules(tmp_path).on(f"kafka://{kafka}"))
