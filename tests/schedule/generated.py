"""What the property tests share: random expressions, and a schedule read backwards."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from scheduler.schedule import Schedule
from scheduler.schedule.expression import MAX_EXPRESSION_LENGTH
from tests.harness.oracles import random_expression

#: JOBU_HYPOTHESIS_EXAMPLES=2000 tries more examples, and other ones each time. Without it each run
#: tries the same ones.
EXAMPLES = os.environ.get("JOBU_HYPOTHESIS_EXAMPLES")
_IS_SLOW = os.environ.get("JOBU_TEST_SLOW") == "1"


def examples(number: int) -> settings:
    """`number` examples with `script/test --slow`, and a third of them otherwise."""
    return settings(
        max_examples=int(EXAMPLES or (number if _IS_SLOW else max(10, number // 3))),
        derandomize=EXAMPLES is None,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


def expressions(*, seconds: bool = False) -> st.SearchStrategy[str]:
    # Hypothesis draws a seed only. Fifty draws per expression take longer than most tests, and an
    # expression is short enough to be read without being shrunk.
    return (
        st.randoms(use_true_random=True)
        .map(lambda random: random_expression(random.choice, seconds=seconds))
        .filter(lambda text: len(text) <= MAX_EXPRESSION_LENGTH)
    )


def walk_back(schedule: Schedule, after: datetime, until: datetime) -> list[datetime]:
    """Returns the slots in (after, until], oldest first, found from the end."""
    slots = []
    slot = schedule.last_until(until)
    while slot is not None and slot > after:
        slots.append(slot)
        slot = schedule.last_until(slot - timedelta(seconds=1))
    return slots[::-1]
