"""Korean: the catalogue is complete, and Korean pages have no English words."""

from __future__ import annotations

import gettext as gnu
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import django_celery_results
import pytest
import unfold
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import translation
from django.utils.translation import trans_real
from hypothesis import assume, given
from hypothesis import strategies as st

from handlers.databases import database_warning
from handlers.registry import handler_names
from scheduler.admin.accounts import permission_label
from scheduler.beat.dispatcher import Dispatcher
from scheduler.labels import label
from scheduler.models import CronJob, JobAttempt, JobExecution, JobLog, SchedulerProcess
from scheduler.operations.actor import Actor
from scheduler.operations.backfills import BackfillControl
from scheduler.operations.control import Control, InvalidJob, NotPossible
from scheduler.operations.slot_answer import Gap, SlotAnswer
from scheduler.operations.slot_words import sentences
from scheduler.schedule import ScheduleError, parse
from scheduler.schedule.pattern import CronDays, Pattern
from scheduler.schedule.warnings import warnings_of
from scheduler.schedule.words import in_words
from scheduler.states import (
    AttemptOutcome,
    JudgedBy,
    RunStatus,
    SkipCause,
    SlotCode,
    SlotObstacle,
)
from scheduler.store.connection import database_now
from tests import translations
from tests.harness.scheduler_harness import FakeClock, RecordingSender
from tests.schedule.generated import examples, expressions

KOREAN = {"Accept-Language": "ko"}
_PLACEHOLDERS = re.compile(r"%\((\w+)\)[sd]|%s|%%|\{[\w:%-]*\}|</?\w[^>]*>")


@pytest.fixture
def korean() -> Iterator[None]:
    with translation.override("ko"):
        yield


# --- the catalogue --------------------------------------------------------------------------------


def test_every_text_has_its_translation():
    known = translations.keys_of(translations.catalogue())

    missing = [
        f"{places[0]}: {text!r}"
        for (context, text), places in translations.source().items()
        if (context, text) not in known or not all(_strings(known[context, text]))
    ]

    assert missing == [], "run `python -m tests.translations`, then translate them in the .po"


def test_no_text_of_a_page_has_raw_markdown():
    # Pages show it as it is. Around what one types stand “ ”.
    found = [
        text for _context, text in translations.source() if re.search(r"`|\]\(|\*\*\w", str(text))
    ]
    assert found == []


def test_codes_that_pages_label_are_in_the_catalogue():
    """Their msgids stand in no call, so whoever reads the source would not miss them."""
    labelled = {
        name
        for path in (translations.ROOT / "scheduler").rglob("*.py")
        for name in re.findall(r"\blabel(?:_of)?\(([A-Z]\w+)", path.read_text(encoding="utf-8"))
    }

    assert labelled > {"RunStatus", "AlertKind", "MessageState"}
    assert labelled - {context for context, _text in translations.source()} == set()


def test_catalogue_has_no_fuzzy_and_no_unused_entries():
    catalogue = translations.catalogue()
    source = translations.source()

    left = [
        text
        for key, message in translations.keys_of(catalogue).items()
        for text in [key[1]]
        if message.fuzzy or (key not in source and not translations.is_borrowed(message))
    ]

    assert left == []
    assert not catalogue.obsolete


def test_placeholders_and_tags_are_those_of_the_original():
    wrong = []
    for message in translations.keys_of(translations.catalogue()).values():
        ids = [message.id] if isinstance(message.id, str) else list(message.id)
        allowed = [sorted(_marks(text)) for text in ids]
        for string in _strings(message):
            found = sorted(_marks(string))
            # Korean has one plural form. It has all or some placeholders of the English plural.
            if found != allowed[-1] and (len(ids) == 1 or not set(found) <= set(allowed[-1])):
                wrong.append((ids, string))
    assert wrong == []


def test_compiled_catalogue_matches_the_source_catalogue():
    fresh = gnu.GNUTranslations(BytesIO(translations.mo_bytes(translations.catalogue())))
    with translations.MO.open("rb") as file:
        committed = gnu.GNUTranslations(file)

    assert _texts(committed) == _texts(fresh)


def _texts(compiled: gnu.GNUTranslations) -> dict[Any, str]:
    return {key: text for key, text in vars(compiled)["_catalog"].items() if key}  # "": the header


def test_korean_particles_after_a_placeholder_have_both_forms():
    """The right form depends on the value of the placeholder, so both are written."""
    bare = re.compile(r"%(?:\(\w+\))?s(?:을|를|이|가|은|는|와|과|으로)(?![(가-힣])")
    wrong = [
        string
        for message in translations.keys_of(translations.catalogue()).values()
        for string in _strings(message)
        if bare.search(string)
    ]
    assert wrong == []


def test_requests_and_questions_have_one_ending():
    wrong = [
        string
        for message in translations.keys_of(translations.catalogue()).values()
        for string in _strings(message)
        if re.search(r"(?:세요|나요)(?![가-힣])", string)
    ]
    assert wrong == []


def test_each_term_has_its_one_korean_word():
    """The list is docs/translating.md."""
    said = [
        (text.lower(), string)
        for (_context, text), message in translations.keys_of(translations.catalogue()).items()
        if isinstance(text, str)
        for string in _strings(message)
    ]
    wrong = []
    for term, words, forbidden in _terms():
        alone = [string for text, string in said if text == term]
        inside = [string for text, string in said if re.search(rf"\b{term}\b", text)]
        if not any(word in string for word in words for string in alone or inside):
            wrong.append(f"{term}: nowhere {words}")
        wrong += [
            f"{term}: {string!r} has {bad}"
            for bad in forbidden
            for _text, string in said
            if re.search(rf"(?<![가-힣]){bad}", string)
        ]
    assert wrong == []


def _terms() -> Iterator[tuple[str, list[str], list[str]]]:
    """Yields each English term, its Korean words, and those that are not to be used for it."""
    page = (translations.ROOT / "docs" / "translating.md").read_text(encoding="utf-8")
    _head, table = page.split("|---|---|---|\n")
    for line in table.partition("\n\n")[0].splitlines():
        terms, words, forbidden = (cell.strip() for cell in line.strip("|").split("|"))
        korean = [re.sub("[^가-힣 ]", "", word).strip() for word in words.split(",")]
        for term in terms.split(", "):
            yield term, korean, [bad for bad in forbidden.split(", ") if bad]


def test_the_theme_and_the_table_of_task_results_are_translated():
    """The packages themselves have no Korean translation."""
    catalogue = trans_real.DjangoTranslation("ko")
    root = Path(unfold.__file__).parent
    filters = root / "contrib" / "filters"
    paths = [path for path in root.rglob("*") if "contrib" not in path.parts[len(root.parts) :]]
    paths += [*filters.rglob("*"), *Path(django_celery_results.__file__).parent.glob("*.py")]
    others = {"templates/" + name for name in _NOT_INSTALLED}
    missing = set()
    for path in paths:
        if path.suffix not in (".py", ".html") or any(name in path.as_posix() for name in others):
            continue
        for context, text in translations.texts_of(path):
            single = text if isinstance(text, str) else text[0]
            if not _knows(catalogue, context, single):
                missing.add((context, single))
    assert missing - _SAID_TO_PROGRAMMERS == set()


# Texts of the theme for packages that are not installed.
_NOT_INSTALLED = ("hijack", "reversion", "reversion-compare", "simple_history", "unfold_crispy")
_SAID_TO_PROGRAMMERS = {
    ("", "Celery ID for the Chord header group"),
    ("", "JSON serialized list of task result tuples. use .group_result() to decode"),
    ("", "Starts at len(chord header) and decrements after each task is finished"),
    ("", "You can not create nested object without parent"),
    (
        "",
        'Field <strong class="font-semibold">{field_name}</strong> is not an autocomplete field. '
        "Please add it to the `autocomplete_fields` list.",
    ),
}


def _knows(catalogue: trans_real.DjangoTranslation, context: str, text: str) -> bool:
    key = f"{context}\x04{text}" if context else text
    found = vars(catalogue)["_catalog"]
    return key in found or (key, 0) in found


def _strings(message: Any) -> list[str]:
    return [message.string] if isinstance(message.string, str) else list(message.string)


def _marks(text: str) -> list[str]:
    return [match[0] for match in _PLACEHOLDERS.finditer(text)]


# --- cron words -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("korean")
@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * *", "매분"),
        ("*/10 * * * *", "10분마다"),
        ("0 * * * *", "매시 정각"),
        ("17 * * * *", "매시 17분"),
        ("0 */2 * * *", "2시간마다"),
        ("17 */2 * * *", "2시간마다 17분"),
        ("*/30 * * * * *", "30초마다"),
        ("30 * * * * *", "매분 30초에"),
        ("0 9 * * *", "매일 09:00"),
        ("0 9,18 * * *", "매일 09:00, 18:00"),
        ("0 9 * * 1-5", "평일 09:00"),
        ("0 9 * * 6,0", "주말 09:00"),
        ("0 9 * * 1", "매주 월요일 09:00"),
        ("0 9 * * 1,wed#3", "매주 월요일, 매월 셋째 수요일 09:00"),
        ("*/10 9-17 * * 1-5", "평일 09:00~17:50 10분마다"),
        ("30 9-17 * * *", "09:30~17:30 매시간"),
        ("0 18 L * *", "매월 말일 18:00"),
        ("0 0 1,15 * *", "매월 1일, 15일 00:00"),
        ("0 0 L 1-3 *", "1월~3월 말일 00:00"),
        ("0 9 * 1 mon#2", "1월 둘째 월요일 09:00"),
        ("0 9 * * 5L", "매월 마지막 금요일 09:00"),
        ("0 0 13 * fri", "매월 13일 또는 금요일 00:00"),
        ("0 0 */7 * 1", "매월 1일~29일(7 간격) 중 월요일 00:00"),
        ("0 0 * 6-8 *", "6월~8월 매일 00:00"),
        ("*/7 9,11 * * *", "분이 0~56(7 간격)이고 시가 9, 11일 때"),
    ],
)
def test_korean_description_of_an_expression(expression: str, words: str):
    assert in_words(expression) == words


@examples(200)
@given(st.booleans().flatmap(lambda seconds: expressions(seconds=seconds)))
def test_every_expression_has_korean_words_and_no_english(text: str):
    assume(_pattern(text) is not None)
    with translation.override("ko"):
        sentences = [in_words(text), *warnings_of(text)]
    for sentence in sentences:
        assert sentence
        # `L` and `*/7` are quoted from the expression.
        quoted = sentence.replace(" L로 ", " ").replace(text, "")
        assert not re.search("[A-Za-z]", quoted), sentence


@examples(300)
@given(expressions(), expressions())
def test_different_expressions_have_different_korean_descriptions(one: str, other: str):
    first, second = _pattern(one), _pattern(other)
    assume(first is not None and second is not None)
    with translation.override("ko"):
        alike = in_words(one) == in_words(other)
    assert not alike or _meaning(first) == _meaning(second)


def _pattern(text: str) -> Pattern | None:
    try:
        return parse(text, "UTC").pattern
    except ScheduleError:
        return None


def _meaning(pattern: Pattern | None) -> object:
    assert pattern is not None
    assert isinstance(pattern.days, CronDays)
    year = datetime(2024, 1, 1, tzinfo=UTC)
    days = tuple(
        day for day in range(4 * 366) if pattern.days.match((year + timedelta(days=day)).date())
    )
    return pattern.seconds, pattern.minutes, pattern.hours, days


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.usefixtures("korean")
@pytest.mark.parametrize(
    ("values", "field", "text"),
    [
        ({"cron_expression": "61 * * * *"}, "cron_expression", "분: '61'은(는) 0-59 범위를"),
        ({"cron_expression": "* * *"}, "cron_expression", "필드가 3개입니다"),
        ({"timezone": "Asia/Seol"}, "timezone", "Asia/Seoul을(를) 찾으셨습니까?"),
        ({"calendar": "moon"}, "calendar", "달력 'moon'은(는) 설정되어 있지 않습니다"),
        ({"name": ""}, "name", "비워 둘 수 없습니다"),
        ({"timeout_seconds": 0}, "timeout_seconds", "1~86400 범위를 벗어납니다"),
        ({"overlap_policy": "never"}, "overlap_policy", "알 수 없는 값 'never'"),
        ({"handler_name": "sampel"}, "handler_name", "핸들러를 찾을 수 없습니다: sampel"),
        (
            {"handler_params": {"sleep_seconds": -1}},
            "handler_params",
            "sleep_seconds: 0 이상이어야 합니다",
        ),
    ],
)
def test_problems_of_a_job_are_described_in_korean(values: Any, field: str, text: str):
    with pytest.raises(InvalidJob) as caught:
        Control().create_job(
            **{"name": "a", "cron_expression": "@daily", "handler_name": "sample", **values}
        )

    assert text in caught.value.problems[field][0]


@pytest.mark.usefixtures("korean")
def test_missing_databases_of_a_handler_are_named_in_korean():
    warning = database_warning(("shop", "crm"), (), translation.gettext)

    assert warning is not None
    assert "데이터베이스 'shop', 'crm'이(가) 설정되어 있지 않습니다" in warning
    assert " and " not in warning


@pytest.mark.django_db
@pytest.mark.usefixtures("korean")
def test_refusals_of_actions_are_in_korean():
    run, now = _run(_job()), database_now()

    with pytest.raises(NotPossible, match=r"이미 성공 상태입니다"):
        Control().cancel(run.pk)
    with pytest.raises(InvalidJob, match="마지막 슬롯보다 늦을 수 없습니다"):
        BackfillControl().preview(run.job_id or 0, since=now, until=now - timedelta(days=1))


@pytest.mark.usefixtures("korean")
@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "x * * * *", "5-1 * * * *", "*/99 * * * *", "@reboot", "@never", "é * * * *",
     "? * * * *", "1,, * * * *", "h * * * *", "* * 5w-9 * *", "* * 32w * *", "* * l-31 * *",
     "5w * * * *", "h/0 * * * *", "h(5-3) * * * *", "h5 * * * *", "* * 5l * *", "* * * * 1#9",
     "* * * * mon#", "0 0 30 2 *", "* " * 60],
)  # fmt: skip
def test_every_reason_to_refuse_an_expression_is_in_korean(text: str):
    with pytest.raises(ScheduleError) as caught:
        parse(text, "UTC")

    reason = caught.value.reason
    assert re.search("[가-힣]", reason)
    english = {"the", "is", "must", "range", "step", "fields", "cannot", "only", "unknown"}
    assert not english & set(re.findall("[a-z]+", reason))


# --- where it stays English -----------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.usefixtures("korean")
def test_beat_stores_english_texts_in_every_language():
    job = _job()
    CronJob.objects.filter(pk=job.pk).update(cron_expression="61 * * * *", next_run_at=None)

    Dispatcher(clock=FakeClock(), sender=RecordingSender()).tick()

    job.refresh_from_db()
    assert job.schedule_error == "cron_expression: minute: '61' is outside 0-59"


@pytest.mark.django_db
@pytest.mark.usefixtures("korean")
def test_command_line_texts_are_english(capsys):
    call_command("preview", "0 9 * * 1-5")

    assert "At 09:00, on Monday to Friday" in capsys.readouterr().out


@pytest.mark.django_db
def test_the_api_keeps_its_codes_and_translates_its_messages(admin: Client):
    url = "/api/jobs/4711"

    english = admin.get(url, headers={"Accept-Language": "en"}).json()
    korean = admin.get(url, headers=KOREAN).json()

    assert korean["error"]["code"] == english["error"]["code"]
    assert "없는 실행입니다" in str(korean)
    assert "there is no such execution" in str(english)


def test_a_code_is_translated_only_in_korean():
    with translation.override("en"):
        assert label(RunStatus.SUCCESS) == "SUCCESS"
    with translation.override("ko"):
        assert label(RunStatus.SUCCESS) == "성공"


@pytest.mark.django_db
@pytest.mark.usefixtures("korean")
def test_permissions_are_chosen_by_korean_names():
    names = [
        permission_label(each)
        for each in Permission.objects.filter(content_type__app_label="scheduler")
    ]

    assert "스케줄러 | 작업 | 작업 추가" in names
    assert "스케줄러 | 작업 | 매개변수와 결과를 볼 수 있음" in names
    assert [name for name in names if "Can " in name] == []


# --- pages ----------------------------------------------------------------------------------------

PAGES = (
    "admin:index",
    "admin:scheduler_cronjob_changelist",
    "admin:scheduler_cronjob_add",
    "admin:scheduler_jobexecution_changelist",
    "admin:scheduler_jobexecution_retry_range",
    "admin:scheduler_jobexecution_search_logs",
    "admin:failures",
    "admin:activity",
    "admin:scheduler_backfill_changelist",
    "admin:scheduler_backfill_add",
    "admin:scheduler_schedulerprocess_changelist",
    "admin:scheduler_apitoken_changelist",
    "admin:scheduler_apitoken_add",
    "admin:scheduler_preference_changelist",
    "admin:auth_user_changelist",
    "admin:auth_group_changelist",
    "admin:password_change",
    "admin:groups",
    "admin:group-change",
)
PAGES_OF_A_JOB = (
    "overview",
    "slot",
    "change",
    "history",
    "run_now",
    "pause",
    "resume",
    "disable",
    "clone",
    "delete",
)
PAGES_OF_A_RUN = ("change", "retry", "cancel", "replay")
#: Codes, units of formats, and names of people, places and programs.
NAMES = frozenset(
    {
        *("jobu", "API", "JSON", "UTC", "KST", "Asia", "Seoul", "Celery", "Flower", "ISO", "ID"),
        *(
            "CSV",
            "Ctrl",
            "K",
            "INFO",
            "WARNING",
            "ERROR",
            "English",
            "alice",
            "report",
            "sample",
            "worker",
            "hello",
        ),
        *("Report", "A", "en", "ko", "esc"),
        "alert",  # jobu.alert, the handler of messages
        # how schedules are written
        *("every", "days", "h", "at", "T", "RRULE", "FREQ", "WEEKLY", "INTERVAL", "BYDAY", "FR"),
        *("params", "tenant"),  # a path in params
        *("skip", "next", "previous", "daily", "after", "slot", "Y", "m", "d", "p"),
    }
)


@pytest.fixture
def admin(django_user_model: type[User]) -> Client:
    client = Client(headers=KOREAN)
    client.force_login(django_user_model.objects.create_superuser("alice"))
    return client


@pytest.mark.django_db
@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_english_words(admin: Client, name: str):
    _run(_job(), RunStatus.FAILED)

    assert _english(admin.get(reverse(name))) == ""


@pytest.mark.django_db
@pytest.mark.parametrize("name", PAGES_OF_A_JOB)
def test_a_job_s_page_has_no_english_words(admin: Client, name: str):
    job = _job()
    _run(job)

    assert _english(admin.get(reverse(f"admin:scheduler_cronjob_{name}", args=[job.pk]))) == ""


@pytest.mark.django_db
def test_the_comparison_of_two_runs_has_no_english_words(admin: Client):
    job = _job()
    two = {"run": [_run(job, RunStatus.FAILED).pk, Control().run_now(job.pk).pk]}

    assert _english(admin.get(reverse("admin:scheduler_cronjob_compare", args=[job.pk]), two)) == ""


@pytest.mark.usefixtures("korean")
@pytest.mark.parametrize("code", list(SlotCode))
def test_each_answer_about_a_slot_is_korean(code: SlotCode):
    at = datetime(2026, 3, 29, 1, tzinfo=UTC)
    known = SlotAnswer(
        code=code, at=at, execution_id=7, status="SUCCESS", by="alice", since=at, until=at,
        first=at, last=at, calendar="KR", moved_to=at, starts_at=at, before=at, after=at,
        obstacles=tuple(SlotObstacle) if code == SlotCode.NOT_YET else (), stand_ins=(8, 9),
        gap=Gap(zone="Asia/Seoul", before="02:00", after="03:00"), other_pass=at,
        judged_by=JudgedBy.TODAY, is_slot_today=True,
    )  # fmt: skip
    reasons: list[tuple[str, dict[str, Any]]] = [
        ("misfire", {"policy": "latest", "first": at.isoformat(), "last": at.isoformat()}),
        *(("missed", {"cause": cause.value, "by": "alice"}) for cause in SkipCause),
        ("overlap_running", {"running": 3}),
        ("overlap_waiting", {}),
        ("overlap_newer", {}),
        ("shadow", {}),
        ("frozen", {"freeze": "결산", "note": "마감"}),
        ("not_approved", {}),
        ("rejected", {"by": "alice", "note": "아니요"}),
        ("", {}),
    ]
    for reason, facts in reasons:
        answer = replace(known, reason_code=reason, reason_facts=facts)
        said = " ".join(sentences(answer, lambda at: at.strftime("%Y-%m-%d %H:%M")))
        assert re.findall(r"[A-Za-z]+", re.sub("alice|KR|Asia/Seoul", "", said)) == []


@pytest.mark.django_db
def test_finished_runs_show_elapsed_time_not_remaining_time(admin: Client):
    job = _job()
    _run(job)

    page = admin.get(reverse("admin:scheduler_cronjob_change", args=[job.pk]))

    headers = page.context["last_runs"]["headers"]
    assert "경과" in headers
    assert "남은 시간" not in headers


@pytest.mark.django_db
@pytest.mark.parametrize("status", list(RunStatus))
def test_an_execution_s_page_has_no_english_words(admin: Client, status: RunStatus):
    run = _run(_job(), status)

    for name in PAGES_OF_A_RUN:
        page = admin.get(reverse(f"admin:scheduler_jobexecution_{name}", args=[run.pk]))
        assert _english(page) == ""


@pytest.mark.django_db
def test_a_backfill_s_page_has_no_english_words(admin: Client):
    job, now = _job(), database_now()
    _run(job)
    control = BackfillControl(actor=Actor(name="alice"))
    backfill = control.start(job.pk, since=now - timedelta(days=9), until=now - timedelta(days=1))

    for name in ("change", "pause", "cancel"):
        page = admin.get(reverse(f"admin:scheduler_backfill_{name}", args=[backfill.pk]))
        assert _english(page) == ""


@pytest.mark.django_db
def test_the_login_page_is_korean():
    page = Client(headers=KOREAN).get(reverse("admin:login"))

    assert "로그인" in page.content.decode()
    assert _english(page) == ""


@pytest.mark.django_db
def test_times_are_iso_format_in_korean_time(admin: Client):
    run = _run(_job())
    page = admin.get(reverse("admin:scheduler_jobexecution_change", args=[run.pk]))

    zones = re.findall(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2} (\w+)</time>", page.content.decode())
    assert zones
    assert set(zones) == {"KST"}


def _job() -> CronJob:
    return Control().create_job(name="report", cron_expression="0 9 * * 1-5", handler_name="sample")


def _run(job: CronJob, status: RunStatus = RunStatus.SUCCESS) -> JobExecution:
    """Creates an execution with an attempt, a log line and its processes."""
    now = database_now()
    state: dict[str, Any] = {"finished_at": now, "started_at": now}
    if status == RunStatus.PENDING:
        state = {"available_at": now}
    if status == RunStatus.RUNNING:
        until = now + timedelta(hours=1)
        state = {"lease_token": "t", "lease_expires_at": until, "deadline_at": until}
        state |= {"lease_owner": "worker-1", "started_at": now}
    if status == RunStatus.FANNED_OUT:
        state = {"started_at": now, "shard_count": 3}
    run = JobExecution.objects.create(
        job=job, job_name=job.name, handler_name="sample", scheduled_time=now, status=status,
        attempt=1, **state,
    )  # fmt: skip
    JobAttempt.objects.create(
        execution=run, attempt=1, lease_token="t0", worker="worker-1", started_at=now,
        ended_at=now, outcome="FAILED",
    )  # fmt: skip
    JobLog.objects.create(execution=run, attempt=1, seq=1, at=now, level="INFO", message="hello")
    SchedulerProcess.objects.create(
        name="worker-1", kind="worker", host="worker-1", pid=1, started_at=now, heartbeat_at=now
    )
    return run


def _english(page: Any) -> str:
    assert page.status_code == 200
    reader = _Reader()
    reader.feed(page.content.decode())
    words = re.findall(r"[A-Za-z][A-Za-z_-]*[A-Za-z]|[A-Za-z]", " ".join(reader.texts))
    return " ".join(sorted(set(words) - NAMES - set(handler_names())))


# The tooltip of a badge is its code.
CODES = {*RunStatus, *AttemptOutcome}


class _Reader(HTMLParser):
    """Collects what a person reads or a screen reader speaks: text, and words in attributes."""

    SILENT = frozenset({"script", "style", "code", "template"})
    SPOKEN = frozenset({"title", "placeholder", "aria-label", "alt"})

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if "material-symbols" in (given.get("class") or "") or given.get("list"):
            tag = "script"  # the name of an icon
        if tag not in _EMPTY:
            self._open.append(tag)
        read = [given[name] or "" for name in self.SPOKEN if name in given]
        self.texts += [text for text in read if text not in CODES]

    def handle_endtag(self, tag: str) -> None:
        if self._open:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if not self.SILENT & set(self._open):
            self.texts.append(data)


# Tags that have no end.
_EMPTY = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
)
