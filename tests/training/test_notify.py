"""Alerts over a real connection: they arrive once and in order, nobody waits for them, and no secret is shown."""

from __future__ import annotations

import io
import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from seqsetvae.config import MonitorConfig
from seqsetvae.errors import InputError
from seqsetvae.training.monitor.notify import CAPACITY, Notifier, notify_url

SECRET = "hunter2"


class Receiver(ThreadingHTTPServer):
    """Refuses the first `failures` requests with 500, and answers none while `hanging` is clear."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.failures = 0
        self.requests = 0
        self.received: list[tuple[str, str]] = []
        self.open = threading.Event()
        self.open.set()

    @property
    def url(self) -> str:
        return f"json://user:{SECRET}@127.0.0.1:{self.server_port}/{SECRET}"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests += 1
        self.server.open.wait(10)
        refused = self.server.requests <= self.server.failures
        if not refused:
            self.server.received.append((content["title"], content["message"]))
        self.send_response(500 if refused else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Not to stderr, which is under test."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.open.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_message_arrives_once_and_in_order_after_two_refusals(receiver, capsys):
    receiver.failures = 2
    notifier = Notifier(receiver.url, pause=0.01)
    for number in range(5):
        notifier.send(f"🔴 alert {number}", "KL divergence too low: 0.008000 < 0.01\nLower beta.")
    assert notifier.close(10)
    assert receiver.requests == 7
    assert [title for title, _ in receiver.received] == [f"🔴 alert {number}" for number in range(5)]
    assert receiver.received[0][1] == "KL divergence too low: 0.008000 < 0.01\nLower beta."
    assert capsys.readouterr() == ("", "")


def test_send_does_not_wait_for_a_server_that_hangs(receiver):
    receiver.open.clear()
    notifier = Notifier(receiver.url, pause=0.01)
    notifier.send("first", "")
    deadline = time.monotonic() + 10
    while not receiver.requests and time.monotonic() < deadline:
        time.sleep(0.01)
    assert receiver.requests == 1
    seconds = []
    for number in range(20):
        started = time.perf_counter()
        notifier.send(f"alert {number}", "")
        seconds.append(time.perf_counter() - started)
    assert sorted(seconds)[10] < 0.005  # the median: the machine may take a break
    receiver.open.set()
    assert notifier.close(10)
    assert len(receiver.received) == 21


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What reaches the log of a program that logs everything of everybody; `caplog` also reads loggers that keep to themselves."""
    written = io.StringIO()
    handler, root = logging.StreamHandler(written), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield written
    root.removeHandler(handler)
    root.setLevel(level)


def test_what_was_not_delivered_is_reported_in_one_line(receiver, capsys, log):
    receiver.failures = 10**6
    notifier = Notifier(receiver.url, attempts=3, pause=0.01)
    notifier.send("one", "")
    notifier.send("two", "")
    assert not notifier.close(10)
    assert receiver.requests == 6, "three tries each"
    assert log.getvalue() == "2 alerts were not delivered to json:// (HTTP 500).\n"
    assert not notifier.close(10)
    notifier.send("late", "")
    assert capsys.readouterr() == ("", "")


def test_the_end_of_a_run_waits_only_a_little(receiver, capsys):
    receiver.failures = 10**6
    notifier = Notifier(receiver.url, pause=60)
    notifier.send("one", "")
    started = time.perf_counter()
    assert not notifier.close(0.3)
    assert time.perf_counter() - started < 5
    assert capsys.readouterr().err.startswith("1 alert was not delivered to json:// (")
    notifier._thread.join(5)
    assert not notifier._thread.is_alive(), "no tries after the end"


def test_nobody_at_home(capsys):
    notifier = Notifier(f"json://127.0.0.1:1/{SECRET}", attempts=2, pause=0.01)
    notifier.send("one", "")
    assert not notifier.close(10)
    assert capsys.readouterr().err == "1 alert was not delivered to json:// (no answer).\n"


def test_one_service_is_not_asked_twice_because_another_refuses(receiver):
    other = Notifier(f"{receiver.url},json://127.0.0.1:1/", attempts=3, pause=0.01)
    other.send("one", "")
    assert not other.close(10)
    assert [title for title, _ in receiver.received] == ["one"]


def test_the_queue_is_bounded_and_keeps_the_newest(receiver):
    receiver.open.clear()
    notifier = Notifier(receiver.url, attempts=1)
    for number in range(CAPACITY + 50):
        notifier.send(str(number), "")
    receiver.open.set()
    assert not notifier.close(20)
    assert CAPACITY <= len(receiver.received) <= CAPACITY + 1
    assert receiver.received[-1][0] == str(CAPACITY + 49)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"pigeon://user:{SECRET}@host/{SECRET}", "pigeon://"),
        (f"slack://{SECRET}", "slack://"),
        (f"json://host/{SECRET},pigeon://{SECRET}", "json:// pigeon://"),
        (SECRET, "without a scheme"),
    ],
)
def test_an_address_that_cannot_work_is_refused_without_being_shown(url, said, capsys, log):
    with pytest.raises(InputError, match=r"--monitor\.notify") as refusal:
        Notifier(url)
    assert said in str(refusal.value)
    assert SECRET not in str(refusal.value) + log.getvalue() + "".join(capsys.readouterr())
    assert refusal.value.__cause__ is None


def test_the_flag_goes_before_the_environment(monkeypatch):
    assert notify_url(MonitorConfig()) is None
    monkeypatch.setenv("SEQSETVAE_NOTIFY", "json://environment")
    assert notify_url(MonitorConfig()) == "json://environment"
    assert notify_url(MonitorConfig(notify="json://flag")) == "json://flag"
    monkeypatch.setenv("SEQSETVAE_NOTIFY", "")
    assert notify_url(MonitorConfig()) is None


def test_the_object_does_not_show_the_address(receiver):
    assert SECRET not in repr(Notifier(receiver.url))
