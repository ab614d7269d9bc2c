"""A private RabbitMQ with its own node name, ports, data, cookie and epmd."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, urlsplit

from kombu.connection import Connection

from tests.harness.servers.base import Server, free_port, unique_name
from tests.harness.servers.daemon import Daemon
from tests.harness.waiting import wait_until

# RabbitMQ's own scripts: Debian's wrappers in /usr/sbin require the system's node and user.
DEBIAN_SCRIPTS = (Path("/usr/lib/rabbitmq/bin"),)
# Erlang looks "localhost" up in its own table. The system's resolver would also ask for an IPv6
# address, and without one in /etc/hosts it asks the name server: eight seconds if that is silent.
NAMES = """\
{lookup, [file]}.
{host, {127,0,0,1}, ["localhost"]}.
"""
# An idle thread of Erlang sleeps, and does not spin for work as on a processor of its own.
SLEEP_WHEN_IDLE = "+sbwt none +sbwtdcpu none +sbwtdio none"


class RabbitMQ(Server):
    name = "RabbitMQ"
    url_variable = "TEST_RABBITMQ_URL"
    debian_packages = "rabbitmq-server"
    start_timeout_seconds: ClassVar[float] = 90

    def __init__(self) -> None:
        self._epmd: Daemon | None = None
        super().__init__()
        if self.external_url is None:
            self._epmd_port = free_port()
            self._node_port = free_port()

    @property
    def url(self) -> str:
        return self.external_url or f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def create_vhost(self, name: str) -> str:
        """Returns the URL of a new, empty virtual host, or of the environment's only one."""
        if self.external_url is not None:
            return self.external_url
        vhost = unique_name(name)
        name, everything = f'<<"{vhost}">>', '<<".*">>, <<".*">>, <<".*">>'
        # One call in the place of `add_vhost` and `set_permissions`.
        self.control(
            "eval",
            f'ok = rabbit_vhost:add({name}, <<"tests">>), rabbit_auth_backend_internal:'
            f'set_permissions(<<"guest">>, {name}, {everything}, <<"tests">>).',
        )
        return urlsplit(self.url)._replace(path=f"/{quote(vhost)}").geturl()

    def control(self, *arguments: str) -> str:
        """Returns the output of rabbitmqctl. Each call starts Erlang: about a second."""
        return self.run([self._rabbitmqctl, "-q", "-n", self._node, *arguments])

    def close(self) -> None:
        super().close()
        if self._epmd is not None:
            self._epmd.kill()

    def check_installed(self) -> None:
        self._server = self.require("rabbitmq-server", DEBIAN_SCRIPTS)
        self._rabbitmqctl = self.require("rabbitmqctl", DEBIAN_SCRIPTS)
        self._epmd_program = self.require("epmd")

    def prepare(self) -> None:
        (self.directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.local = 127.0.0.1:{self.port}\nlog.console = true\nlog.file = false\n",
            encoding="ascii",
        )
        self._names.write_text(NAMES, encoding="ascii")
        (self.directory / "enabled_plugins").write_text("[].\n", encoding="ascii")

    def launch(self) -> Daemon:
        self._start_epmd()
        return Daemon(
            [self._server],
            log_path=self.directory / "log",
            environment=self.environment,
            directory=self.directory,
        )

    def ping(self) -> None:
        with Connection(self.url, connect_timeout=2) as connection:
            connection.connect()

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "HOME": str(self.directory),  # the place of the Erlang cookie
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_FLAGS": f"-kernel inet_dist_use_interface {{127,0,0,1}} {SLEEP_WHEN_IDLE}",
            "ERL_INETRC": str(self._names),
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "none"),  # not the file of the system
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.directory / "none.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory / "logs"),
            "RABBITMQ_PID_FILE": str(self.directory / "pid"),
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes Erlang, and no shell remains
        }
        inherited = {
            key: value for key, value in os.environ.items() if not key.startswith("RABBITMQ_")
        }
        return inherited | own

    @property
    def _names(self) -> Path:
        return self.directory / "inetrc"

    @property
    def _node(self) -> str:
        return f"jobu{self.port}@localhost"

    def _start_epmd(self) -> None:
        """Starts Erlang's name server in the foreground. Erlang's own would outlive the run."""
        if self._epmd is not None and self._epmd.is_alive:
            return
        self._epmd = Daemon(
            [self._epmd_program, "-port", str(self._epmd_port), "-address", "127.0.0.1"],
            log_path=self.directory / "epmd.log",
        )
        wait_until(lambda: _listens(self._epmd_port), 10, "epmd", details=self._epmd.log_tail)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
