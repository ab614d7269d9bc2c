"""Slow and simple implementations of cron, to compare scheduler/schedule with.

They use neither croniter nor cronsim nor our own code. A field is matched item by item against one
value. Time passes minute by minute through the main loop of Debian's cron.c (3.0pl1), with its
virtual time.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple, TypeVar
from zoneinfo import ZoneInfo

T = TypeVar("T")
MINUTE = timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (wall-clock minutes are counted from here)
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


# ------------------------------------------------------------------------------ matching a field


class Expression:
    """A well-formed expression, matched value by value."""

    def __init__(self, text: str) -> None:
        fields = text.lower().split()
        if len(fields) == 5:
            fields.insert(0, "0")
        self.second, self.minute, self.hour, self.dom, month, dow = fields
        self.month, self.dow = _in_numbers(month, MONTHS, 1), _in_numbers(dow, WEEKDAYS, 0)
        self.interval_like = self.minute[0] == "*" or self.hour[0] == "*"
        self.hours = [h for h in range(24) if _matches(self.hour, h, 23)]
        self.minutes = [m for m in range(60) if _matches(self.minute, m, 59)]
        self.seconds = [s for s in range(60) if _matches(self.second, s, 59)]

    def matches_day(self, day: date) -> bool:
        if not _matches(self.month, day.month, 12, low=1):
            return False
        in_month, in_week = self._day_of_month(day), self._day_of_week(day)
        if self.dom[0] in "*?" or self.dow[0] in "*?":
            return in_month and in_week
        return in_month or in_week

    def _day_of_month(self, day: date) -> bool:
        return any(
            _is_counted_day(item, day)
            if item[0] == "l" or item[-1] == "w"
            else _matches(item, day.day, 31, low=1)
            for item in self.dom.split(",")
        )

    def _day_of_week(self, day: date) -> bool:
        weekday = day.isoweekday() % 7
        for item in self.dow.split(","):
            if "#" in item:
                wanted, nth = item.split("#")
                if (day.day - 1) // 7 + 1 == int(nth) and _is_weekday(wanted, weekday):
                    return True
            elif "l" in item:
                is_last = (day + timedelta(days=7)).month != day.month
                if is_last and _is_weekday(item.replace("l", ""), weekday):
                    return True
            elif _is_weekday(item, weekday):
                return True
        return False


def _is_counted_day(item: str, day: date) -> bool:
    """Returns whether `day` is the one that `L`, `L-3`, `15W`, `LW` or `L-3W` means in its month.

    Looks at all days of the month: the nearest one from Monday to Friday is the right one.
    """
    length = monthrange(day.year, day.month)[1]
    of_month = [day.replace(day=number) for number in range(1, length + 1)]
    plain = item.removesuffix("w")
    wanted = length - int(plain[2:] or 0) if plain[0] == "l" else int(plain)
    if wanted < 1 or wanted > length:
        return False
    if plain == item:
        return day.day == wanted
    working = [each for each in of_month if each.isoweekday() <= 5]
    return day == min(working, key=lambda each: abs(each.day - wanted))


def _is_weekday(item: str, weekday: int) -> bool:
    values = [0, 7] if weekday == 0 else [weekday]
    if "/" in item and "-" not in item and "*" not in item:
        item, values = item.replace("7/", "0/"), [weekday]  # "5/2" goes on until Saturday
    return any(_matches(item, value, 7) for value in values)


def _in_numbers(text: str, names: Sequence[str], low: int) -> str:
    for position, name in enumerate(names, start=low):
        text = text.replace(name, str(position))
    return text


def _matches(text: str, value: int, high: int, *, low: int = 0) -> bool:
    """Returns whether a field, or one item of it, holds `value`."""
    for item in text.split(","):
        span, _, step = item.partition("/")
        if span in ("*", "?"):
            first, last = low, high
        elif "-" in span:
            first, last = map(int, span.split("-"))
        else:
            first, last = int(span), high if step else int(span)
        if first <= value <= last and (value - first) % int(step or 1) == 0:
            return True
    return False


# ------------------------------------------------------------------------------ Debian's cron.c


class Wakeup(NamedTuple):
    """A call of find_jobs() at `instant` for the minute `wall`. `late`: the clock skipped it."""

    instant: datetime
    wall: datetime
    wild: bool
    fixed: bool
    late: bool


@lru_cache(maxsize=64)
def wakeups(zone: str, start: datetime, end: datetime) -> list[Wakeup]:
    """Returns what a Debian cron that runs since before `start` does in [start, end)."""
    tz, calls = ZoneInfo(zone), []
    instant = start - timedelta(hours=30)
    virtual = _wall_minute(instant, tz)
    while (instant := instant + MINUTE) < end:
        running = _wall_minute(instant, tz)
        difference = running - virtual
        if difference == 1:
            virtual = running
            calls.append((instant, virtual, True, True, False))
        elif abs(difference) > 3 * 60:
            virtual = running
            calls.append((instant, running, True, True, False))
        elif difference > 5:
            calls.append((instant, running, True, False, False))
            while virtual < running:
                virtual += 1
                calls.append((instant, virtual, False, True, virtual < running))
        elif difference > 0:
            while virtual < running:
                virtual += 1
                calls.append((instant, virtual, True, True, virtual < running))
        else:
            calls.append((instant, running, True, False, False))
    return [Wakeup(at, EPOCH + wall * MINUTE, *rest) for at, wall, *rest in calls if at >= start]


def _wall_minute(instant: datetime, tz: ZoneInfo) -> int:
    return (instant.astimezone(tz).replace(tzinfo=None) - EPOCH) // MINUTE


def debian_slots(
    text: str,
    zone: str,
    start: datetime,
    end: datetime,
    *,
    matches_day: Callable[[date], bool] | None = None,
) -> list[datetime]:
    """Returns the instants in [start, end) at which Debian's cron runs `text`, each once.

    `matches_day` replaces the day fields: a calendar moves the days and keeps the times. A minute
    that the clock skipped runs at the end of the gap, whatever its seconds.
    """
    expression = Expression(text)
    on_day = lru_cache(maxsize=None)(matches_day or expression.matches_day)
    seconds = [timedelta(seconds=second) for second in expression.seconds]
    minutes, hours = set(expression.minutes), set(expression.hours)
    slots: set[datetime] = set()
    for call in wakeups(zone, start, end):
        if (
            (call.wild if expression.interval_like else call.fixed)
            and call.wall.minute in minutes
            and call.wall.hour in hours
            and on_day(call.wall.date())
        ):
            slots.update([call.instant] if call.late else [call.instant + s for s in seconds])
    return sorted(slots)


def slots_in_utc(text: str, first: date, last: date) -> list[datetime]:
    """Returns the slots of `text` in UTC from `first` to `last`, both days included."""
    expression = Expression(text)
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return [
        datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=UTC)
        for day in days
        if expression.matches_day(day)
        for hour in expression.hours
        for minute in expression.minutes
        for second in expression.seconds
    ]


# -------------------------------------------------------------------------------- business days


def moved_days(
    text: str, is_business_day: Callable[[date], bool], rule: str
) -> Callable[[date], bool]:
    """Returns a function: whether `text` runs on a day under the rule. It tries the days around."""
    expression = Expression(text)

    def matches_day(day: date) -> bool:
        if not is_business_day(day):
            return False
        if expression.matches_day(day):
            return True
        step = {"skip": 0, "next": -1, "previous": 1}[rule]  # the side that slots come from
        other = day
        while step:
            other += timedelta(days=step)
            if is_business_day(other):
                return False
            if expression.matches_day(other):
                return True
        return False

    return matches_day


# -------------------------------------------------------------------------- random expressions


def random_expression(choose: Callable[[Sequence[T]], T], *, seconds: bool = False) -> str:
    """Returns a well-formed expression. `choose` picks from a sequence."""
    pick: Callable[[Sequence[object]], object] = choose  # type: ignore[assignment]

    def field(low: int, high: int, items: Sequence[str], names: Sequence[str] = ()) -> str:
        shape = pick(["*", "*", "list", "list", "list", "*/n", "mixed"])
        if shape == "*":
            return "*"
        if shape == "*/n":
            return f"*/{pick(range(1, high - low + 1))}"
        written = [
            item(low, high, str(pick(["n", "n", "n", "a-b", "a-b/n", "a/n", *items])), names)
            for _ in range(int(str(pick([1, 1, 1, 2, 3]))))
        ]
        return ",".join([*written, "*/7"] if shape == "mixed" else written)

    def item(low: int, high: int, shape: str, names: Sequence[str]) -> str:
        a, b = sorted(int(str(pick(range(low, high + 1)))) for _ in range(2))
        step = pick(range(1, high - low + 1))
        if names and shape in ("n", "a-b") and pick([True, False]):
            a, b = min(a - low, len(names) - 1), min(b - low, len(names) - 1)
            return names[a] if shape == "n" else f"{names[a]}-{names[b]}"
        return {
            "n": f"{a}",
            "a-b": f"{a}-{b}",
            "a-b/n": f"{a}-{b}/{step}",
            "a/n": f"{a}/{step}",
            "L": "L",
            "nW": f"{a}W",
            "L-n": f"L-{min(a, 30)}",
            "LW": str(pick(["LW", f"L-{min(a, 30)}W"])),
            "nL": f"{a}L",
            "Ln": f"L{a}",
            "n#n": f"{a}#{pick([1, 2, 3, 4, 5])}",
        }[shape]

    day_of_month = field(1, 31, ["L", "nW", "L-n", "LW"])
    month = pick(["*", "*", "*", field(1, 12, [], MONTHS)])
    day_of_week = pick(["*", field(0, 7, ["nL", "Ln", "n#n"], WEEKDAYS)])
    clock = f"{field(0, 59, [])} {field(0, 23, [])}"
    if seconds:
        clock = f"{field(0, 59, [])} {clock}"
    return f"{clock} {day_of_month} {month} {day_of_week}"


# ------------------------------------------------------------------------------ spread by a name

HASHED_FIELDS = ("second", "minute", "hour", "day of month", "month", "day of week")
HASHED_SPANS = ((0, 59), (0, 59), (0, 23), (1, 28), (1, 12), (0, 6))


def numbered(text: str, name: str) -> str:
    """Returns the expression with a list of numbers for each H, each one tried on its own."""
    fields = text.lower().split()
    kinds = list(zip(HASHED_FIELDS, HASHED_SPANS, strict=True))[-len(fields) :]
    return " ".join(
        ",".join(
            _numbers_of(item, f"{kind}\0{name}", *span) if item[0] == "h" else item
            for item in field.split(",")
        )
        for field, (kind, span) in zip(fields, kinds, strict=True)
    )


def _numbers_of(item: str, key: str, low: int, high: int) -> str:
    digest = blake2b(key.encode(), digest_size=8).hexdigest()
    span, _, step = item.partition("/")
    if "(" in span:
        low, high = map(int, span[2:-1].split("-"))
    count = int(step) if step else high - low + 1
    wanted = int(digest, 16) % count
    return ",".join(str(n) for n in range(low, high + 1) if (n - low) % count == wanted)
