"""Forty lines of crontab: what each becomes, and that the slots are cron's."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.models import CronJob
from scheduler.moving import reading
from scheduler.moving.job_entries import entry_of
from scheduler.moving.sources import crontab as crontab_source
from scheduler.moving.words import in_words
from scheduler.operations.imports import ImportControl
from scheduler.schedule import parse, slots_between
from tests.moving.conftest import NOW, mapped, options, reasons
from tests.test_commands import run

pytestmark = pytest.mark.django_db(transaction=True)

PLAIN = [
    "*/5 * * * * /usr/bin/true {}", "0 9-17/2 * * mon-fri /usr/bin/true {}",
    "30 1 1,15 * * /usr/bin/true {}", "0 0 13 * 5 /usr/bin/true {}",
    "15 2 */2 * 1 /usr/bin/true {}", "0 0 * * 7 /usr/bin/true {}", "@daily /usr/bin/true {}",
    "@weekly /usr/bin/true {}", "30 2 * * * /usr/bin/true {}",
]  # fmt: skip
LINES = [
    "# min hour dom mon dow command",
    "SHELL=/bin/sh",
    "LANG = 'C'",
    "CRON_TZ=America/New_York",
    *(line.format(number) for number in range(3) for line in PLAIN),
    "0 5 * * * cd /srv/app && /usr/bin/env X=1 python3 run.py",
    "0 6 * * * /usr/bin/true > /dev/null 2>&1",
    r"0 7 * * * /usr/bin/env mail -s 100\% ann%Hello,%bye",
    "0 8 * * * PATH=/opt/bin:$PATH report",
    "@reboot /usr/bin/true",
    "61 * * * * /usr/bin/true bad",
    "* * * /usr/bin/true",
    "0~30 * * * * /usr/bin/true random",
    "0 8 * * * /usr/bin/not-allowed",
    "MAILTO=ops@example.com",
    "1 1 * * * /usr/bin/true mailed",
    "MAILTO=''",
    "SHELL=/bin/bash",
    "2 2 * * * shopt -s nullglob; echo *",
    "30 1 * * * /usr/bin/true twice",
    "31 1 * * * /usr/bin/true twice",
]


@pytest.fixture
def crontab(tmp_path: Path) -> Path:
    path = tmp_path / "crontab"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return path


def by_line(path: Path, control: ImportControl, kind: str = "crontab") -> dict[str, Any]:
    _kind, entries = reading.read(f"{kind}:{path}", options())
    found = mapped(control, entries, kind)
    return {each.entry.where: each for each in found.values()}


def of(found: dict[str, Any], line: str) -> Any:
    return found[f"line {LINES.index(line) + 1}"]


def test_each_line_is_said_and_mapped(control: ImportControl, crontab: Path):
    found = by_line(crontab, control)
    assert len(found) == 40

    for number in range(4, 4 + 27):
        each = found[f"line {number + 1}"]
        assert each.verdict == "same", each
        assert each.values["timezone"] == "America/New_York"
        assert each.values["handler_params"]["env"] == {"LANG": "C"}
    params = of(found, LINES[31]).values["handler_params"]
    assert params["cwd"] == "/srv/app"
    assert params["argv"] == ["/usr/bin/env", "X=1", "python3", "run.py"]
    assert of(found, LINES[32]).values["handler_params"]["shell"] == (
        "/usr/bin/true > /dev/null 2>&1"
    )
    mail = of(found, LINES[33]).values["handler_params"]
    assert mail["argv"] == ["/usr/bin/env", "mail", "-s", "100%", "ann"]
    assert mail["stdin"] == "Hello,\nbye\n"
    assert of(found, LINES[34]).values["handler_params"]["shell"] == "PATH=/opt/bin:$PATH report"
    said = [(str(of(found, line).verdict), reasons(of(found, line))) for line in LINES[35:40]]
    assert said == [
        ("impossible", {"reboot"}),
        ("impossible", {"expression"}),
        ("impossible", {"unreadable"}),
        ("impossible", {"expression"}),
        ("impossible", {"refused"}),
    ]
    assert reasons(of(found, LINES[41])) == {"mail"}
    bash = of(found, LINES[44])
    assert bash.values["handler_params"]["argv"] == ["/bin/bash", "-c", LINES[44][10:]]
    assert len({each.name for each in found.values()}) == len(found)


@pytest.mark.parametrize(
    "fields",
    ["H H * * *", "H/15 * * * *", "0 9 15W * *", "0 9 L-3 * *", "5/15 * * * *", "0 0 ? * *",
     "0 0 * * mon/2"],
)  # fmt: skip
def test_what_jobu_alone_can_read_is_said_to_be_invalid_in_cron(
    control: ImportControl, tmp_path: Path, fields: str
):
    path = tmp_path / "crontab"
    path.write_text(f"{fields} /usr/bin/true\n", encoding="utf-8")

    (found,) = by_line(path, control).values()

    assert found.verdict == "impossible"
    assert reasons(found) == {"not_there"}
    assert "cron_expression" not in found.values
    assert "cron knows no" in in_words(found.findings[0])


@pytest.mark.parametrize(
    "fields",
    ["0 22-2 * * *", "0 0 * * fri-tue", "@quarterly", "0 0 * * 8", "0 0 0 * *", "60 * * * *",
     "*/0 * * * *", "0~59 * * * *", "0 0 * * mon#1", "0 0 * foo *", "0 0 30 2 *"],
)  # fmt: skip
def test_what_cron_refuses_or_never_runs_is_impossible(
    control: ImportControl, tmp_path: Path, fields: str
):
    path = tmp_path / "crontab"
    path.write_text(f"CRON_TZ=UTC\n{fields} /usr/bin/true\n0 1 * * * /usr/bin/true b\n")

    found = by_line(path, control)

    assert str(found["line 2"].verdict) == "impossible"
    assert str(found["line 3"].verdict) == "same"


@pytest.mark.parametrize(
    ("fields", "same"),
    [
        ("0 0 * * 7", "0 0 * * 0"), ("0 0 * * 5-7", "0 0 * * 0,5,6"),
        ("0 0 * * MON-FRI", "0 0 * * 1-5"), ("0 0 * * mon-sun", "0 0 1-31 * *"),
        ("0 0 * * sat-sun", "0 0 * * 0,6"), ("0 0 * * */7", "0 0 * * 0"),
        ("0 0 * JAN,Dec *", "0 0 * 1,12 *"), ("@Hourly", "0 * * * *"), ("*/7 * * * *",) * 2,
        ("0-59/13,7 * * * *", "0,7,13,26,39,52 * * * *"),
    ],
)  # fmt: skip
def test_odd_ways_of_writing_fields_have_crons_meaning(
    control: ImportControl, tmp_path: Path, fields: str, same: str
):
    path = tmp_path / "crontab"
    path.write_text(f"CRON_TZ=UTC\n{fields} /usr/bin/true\n")

    (found,) = by_line(path, control).values()

    assert str(found.verdict) == "same", found.findings
    given = (parse(text, "UTC") for text in (found.values["cron_expression"], same))
    one, other = (slots_between(each, NOW, NOW + timedelta(days=40), 5000) for each in given)
    assert one == other


def test_a_file_of_windows_with_a_mark_and_settings_in_the_middle(
    control: ImportControl, tmp_path: Path
):
    path = tmp_path / "crontab"
    lines = [
        "\ufeff# Größe", "CRON_TZ=Mars/Base", "0 1 * * * /usr/bin/true", "CRON_TZ = 'Asia/Seoul'",
        "0 2 * * * /usr/bin/true büro", "RANDOM_DELAY=15", "0 3 * * * /usr/bin/true",
        "RANDOM_DELAY=", 'LANG="de_DE.UTF-8"', "\t0\t4 * * *\t/opt/größe/größe --x=1",
    ]  # fmt: skip
    path.write_bytes("\r\n".join(lines).encode() + b"\r\n")

    found = by_line(path, control)

    assert set(found) == {"line 3", "line 5", "line 7", "line 10"}
    assert reasons(found["line 3"]) == {"expression"}
    assert "Mars/Base" in in_words(found["line 3"].findings[0])
    assert str(found["line 5"].verdict) == "same"
    assert found["line 5"].values["timezone"] == "Asia/Seoul"
    assert found["line 5"].values["handler_params"]["argv"] == ["/usr/bin/true", "büro"]
    assert reasons(found["line 7"]) == {"random_delay"}
    assert found["line 10"].values["handler_params"]["env"] == {"LANG": "de_DE.UTF-8"}
    assert "refused" in reasons(found["line 10"])  # not in the list of programs


@pytest.mark.parametrize(
    ("written", "command", "stdin"),
    [
        ("/usr/bin/cat", "/usr/bin/cat", ""), ("/usr/bin/cat%", "/usr/bin/cat", ""),
        ("/usr/bin/cat%a", "/usr/bin/cat", "a\n"), ("/usr/bin/cat%a%", "/usr/bin/cat", "a\n"),
        ("/usr/bin/cat%a%%b", "/usr/bin/cat", "a\n\nb\n"),
        (r"/usr/bin/date +\%F", "/usr/bin/date +%F", ""),
        (r"x '\\%a'", r"x '\\", "a'\n"), (r"x 1\2\%%\%\3", r"x 1\2%", "%\\3\n"),
    ],
)  # fmt: skip
def test_what_stands_behind_a_percent_sign_is_the_input(written: str, command: str, stdin: str):
    assert crontab_source._split_at_percent(written) == (command, stdin)


def test_a_line_without_a_zone_or_with_a_user_says_what_differs(
    control: ImportControl, tmp_path: Path
):
    path = tmp_path / "system"
    path.write_bytes(b"17 * * * * root /usr/bin/true\n\xff\xfe broken\n0 1 * * *  ann\n")

    found = by_line(path, control, "crontab-system")

    assert reasons(found["line 1"]) == {"zone", "user"}
    assert reasons(found["line 2"]) == {"unreadable"}
    assert reasons(found["line 3"]) == {"unreadable"}


@pytest.mark.database
def test_imported_twice_a_line_is_one_job_also_after_its_times_were_edited(
    control: ImportControl, crontab: Path
):
    # Each plain line once: what takes long is the look at the slots, which asks no database.
    crontab.write_text("\n".join(LINES[:4] + LINES[22:]) + "\n", encoding="utf-8")
    lossy = ("--accept-differences", "--skip-impossible")
    first = run("import", f"crontab:{crontab}", *lossy, "--json").json
    assert first["steps"]["create"] == CronJob.objects.count() == 17
    assert run("import", f"crontab:{crontab}", *lossy, "--json").json["steps"]["nothing"] == 17

    crontab.write_text(crontab.read_text().replace("2 2 * * * shopt", "3 3 * * * shopt"))
    again = run("import", f"crontab:{crontab}", *lossy, "--json").json

    assert (again["steps"]["update"], CronJob.objects.count()) == (1, 17)


@pytest.mark.database
def test_a_line_keeps_its_job_when_the_one_before_it_with_its_command_is_deleted(
    control: ImportControl, tmp_path: Path
):
    path = tmp_path / "crontab"
    first, second, third = (f"{minute} 1 * * * /usr/bin/true twice\n" for minute in (30, 31, 32))

    def imported(*lines: str) -> tuple[dict[str, int], dict[str, str]]:
        path.write_text("".join(lines), encoding="utf-8")
        answer = run("import", f"crontab:{path}", "--accept-differences", "--json").json
        times = {job.cron_expression: job.source[-2:] for job in CronJob.objects.all()}
        return {step: count for step, count in answer["steps"].items() if count}, times

    imported(first, second)
    assert imported(second)[0] == {"nothing": 1}
    assert [entry_of(job, NOW).where for job in CronJob.objects.filter(source__endswith="-2")] == [
        "line 1"
    ]
    steps, times = imported(third, first, second)
    assert steps == {"create": 1, "nothing": 2}
    assert times.keys() == {"30 1 * * *", "31 1 * * *", "32 1 * * *"}
    assert (times["31 1 * * *"], times["32 1 * * *"]) == ("-2", "-3")
    # The times of the two that are left were edited: in their order.
    steps, times = imported(first, third.replace("32", "34"), second.replace("31", "33"))
    assert steps == {"update": 2, "nothing": 1}
    assert (times["34 1 * * *"], times["33 1 * * *"]) == ("-2", "-3")


def test_compare_finds_no_difference_between_cron_and_jobu_in_400_days(
    control: ImportControl, crontab: Path
):
    done = run("compare", f"crontab:{crontab}", "--days", "400", "--json").json

    assert done["causes"] == {}
    assert sum(entry["slots"] > 0 for entry in done["entries"]) == 36
