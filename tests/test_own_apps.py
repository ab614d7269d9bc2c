"""A project's apps in the ready-made project: JOBU_APPS, as docs/beside.md says."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobu_project.config import ConfigError, load
from jobu_project.own_apps import _mistakes
from tests.harness.fork_server import the_fork_server
from tests.harness.system import ROOT, System
from tests.test_docs import blocks_of

EXAMPLE = ROOT / "examples" / "shop"
INSTALLED = ["django.contrib.auth", "ninja", "jobu_project", "scheduler"]


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    files = {
        "bazaar/__init__.py": "",
        "bazaar/orders/__init__.py": "",
        "bazaar/auth/__init__.py": "",
        "bazaar/broken/__init__.py": "import not_installed",
        "bazaar/stock/__init__.py": "",
        "bazaar/stock/apps.py": "from django.apps import AppConfig\n\n\n"
        "class StockConfig(AppConfig):\n    name, label = 'bazaar.stock', 'orders'\n",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "bazaar"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (["bazaar.orders", "bazaar"], []),
        (["bazaar.ordes"], ["no module 'bazaar.ordes', did you mean 'bazaar.orders'?"]),
        (["bazar.orders"], ["no module 'bazar', did you mean 'bazaar'?"]),
        (["qqqqqq"], ["Put the folder that holds 'qqqqqq' on PYTHONPATH"]),
        (["bazaar.broken"], ["ModuleNotFoundError: No module named 'not_installed'"]),
        (["bazaar.stock.apps.StockConfg"], ["Choices are: 'StockConfig'"]),
        (
            ["bazaar.auth", "bazaar.orders", "bazaar.stock"],
            [
                "'bazaar.auth' has the label 'auth', as 'django.contrib.auth' has",
                "'bazaar.stock' has the label 'orders', as 'bazaar.orders' has",
            ],
        ),
        (
            ["ninja", "scheduler", "bazaar.orders", "bazaar.orders"],
            [f"'{name}' is installed already" for name in ("ninja", "scheduler", "bazaar.orders")],
        ),
    ],
)
def test_each_mistake_is_named_with_what_would_be_right(
    code: Any, entries: list[str], said: list[str]
):
    found = list(_mistakes(entries, INSTALLED))

    assert len(found) == len(said)
    for mistake, text in zip(found, said, strict=True):
        assert text in mistake


def test_a_path_is_no_name_of_an_app():
    with pytest.raises(ConfigError, match="'shop/orders' must be the dotted name") as caught:
        load(environ={"JOBU_APPS": "shop/orders, shop.stock", "HOME": "/nowhere"})
    assert len(caught.value.mistakes) == 1


def test_a_worker_yaml_that_does_not_read_the_variable_is_said(tmp_path: Path):
    (tmp_path / "worker.yaml").write_text("worker: {apps: [shop.stock]}", encoding="utf-8")
    environ = {"JOBU_APPS": "shop.orders,shop.stock", "HOME": "/nowhere"}

    with pytest.raises(ConfigError, match=r"write `apps: \$\{JOBU_APPS:-\}`"):
        load(tmp_path, environ)
    load(tmp_path, environ | {"JOBU_APPS": "shop.stock"})


@pytest.mark.processes
@pytest.mark.parametrize(
    "program", [["manage.py", "check"], ["-m", "celery", "-A", "jobu_project"]]
)
def test_a_mistake_stops_every_process_without_a_traceback(tmp_path: Path, program: list[str]):
    jobu = System("sqlite:///x", None, tmp_path, environment={"JOBU_APPS": "shop.orderz"})
    arguments = [*program, "beat"] if "celery" in program else program
    done = the_fork_server().run(
        arguments, environment=jobu.environment | {"PYTHONPATH": str(EXAMPLE)}, timeout=60
    )

    assert done.returncode == 1
    assert "there is no module 'shop.orderz' in " in done.stderr
    assert "Traceback" not in done.stderr


LOOK = """
from celery import current_app
from django.test import Client
from django.contrib.auth.models import User
from orders.models import Product

ann = Client()
ann.force_login(User.objects.create_superuser("ann"))
print("SEEN", current_app.main, Product.objects.get().stock,
      ann.get("/admin/orders/product/", headers={"host": "localhost"}).status_code)
"""


def blocks_of_the_page(start: str) -> list[str]:
    """The lines after the first one of the block that begins with it."""
    [block] = [block.text for block in blocks_of("beside.md") if block.text.startswith(start)]
    return block.splitlines()[1:]


@pytest.mark.processes
def test_tasks_handlers_models_and_pages_of_the_apps_are_there(system: Any):
    lines = blocks_of_the_page("# /etc/jobu/environment")
    given = dict(line.replace("/srv/shop", str(EXAMPLE)).split("=", 1) for line in lines)
    config = yaml.safe_load("\n".join(blocks_of_the_page("# /etc/jobu/config/worker.yaml")))
    jobu = system(
        config=config,
        handler_paths=(Path(given["PYTHONPATH"]),),
        # `shop` itself is named as well: its __init__.py makes a Celery app.
        environment={"JOBU_APPS": f"shop,{given['JOBU_APPS']}"},
    )
    commands = [shlex.split(line) for line in blocks_of_the_page("python manage.py check")]
    assert [words[2] for words in commands] == ["migrate", "handlers", "jobs"]
    for words in commands:
        said = jobu.manage(*words[2:])
        assert words[2] != "handlers" or "celery:orders.tasks.count_sales" in said
    jobu.sql("INSERT INTO orders_product (name, stock) VALUES ('tea', 3)")
    restock = ["--cron=@daily", "--handler=restock", "--param=to=50"]
    jobu.manage("jobs", "create", "restock", *restock)
    jobu.start_worker(pool="threads")
    for name in ("sales", "restock"):
        jobu.manage("jobs", "run", name, "--wait")

    assert "SEEN jobu 50 200" in jobu.manage("shell", "-v0", "-c", LOOK)
