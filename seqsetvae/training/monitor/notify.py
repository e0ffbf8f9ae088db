"""Alerts to whoever is away from the terminal: mail, chat or a webhook, by way of Apprise, without making training wait."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections import deque
from typing import TYPE_CHECKING

from seqsetvae.config import MonitorConfig
from seqsetvae.errors import InputError
from seqsetvae.extras import require

if TYPE_CHECKING:
    from apprise import Apprise

_log = logging.getLogger(__name__)

NOTIFY_VARIABLE = "SEQSETVAE_NOTIFY"
CAPACITY = 100
"""Messages that wait while a service is away; beyond that the oldest is given up for the newest."""


def notify_url(config: MonitorConfig) -> str | None:
    """Where to send alerts: the flag, else the environment variable, which keeps the address out of shell histories.

    >>> notify_url(MonitorConfig(notify="json://localhost"))
    'json://localhost'
    """
    return config.notify or os.environ.get(NOTIFY_VARIABLE) or None


class Notifier:
    """Delivers messages in order, on a thread of its own. Nothing it prints or raises shows more of the address than its scheme.

    A message that a service refuses is tried again after `pause` seconds, then after twice as long, and so on; after `attempts` tries
    it is given up, and the next one has its turn.

    Args:
        url: one Apprise URL, or several, separated by commas.
        attempts: tries for each message.
        pause: seconds between the first try and the second.

    Raises:
        InputError: Apprise does not know the service, or the address is incomplete.
    """

    def __init__(self, url: str, *, attempts: int = 5, pause: float = 1.0) -> None:
        self._services = connect(url)
        self._scheme = shown(url)
        self._pauses = [pause * 2**retry for retry in range(attempts - 1)]
        self._waiting: deque[tuple[str, str]] = deque(maxlen=CAPACITY)
        self._wake, self._closing, self._given_up = threading.Event(), threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        # Each has one writer: the thread that sends, and the thread that delivers.
        self._accepted = self._delivered = 0
        self._trouble = "no answer"

    def send(self, title: str, body: str) -> None:
        """Queue a message. Never waits, and never fails."""
        if self._closing.is_set():
            return
        self._accepted += 1
        self._waiting.append((title, body or title))  # Apprise refuses a message without a body
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True, name="seqsetvae-notify")
            self._thread.start()
        self._wake.set()

    def close(self, timeout: float = 5.0) -> bool:
        """Take no more messages and wait up to `timeout` seconds for delivery. Return whether all arrived; say so if not."""
        if self._closing.is_set() or self._thread is None:
            self._closing.set()
            return self._delivered == self._accepted
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout)
        self._given_up.set()
        missing = self._accepted - self._delivered
        if missing:
            alerts = "1 alert was" if missing == 1 else f"{missing} alerts were"
            _log.warning(f"{alerts} not delivered to {self._scheme} ({self._trouble}).")
        return not missing

    def _work(self) -> None:
        while not (self._closing.is_set() and not self._waiting) and not self._given_up.is_set():
            self._wake.wait()
            self._wake.clear()
            while self._waiting and not self._given_up.is_set():
                self._delivered += self._deliver(*self._waiting.popleft())

    def _deliver(self, title: str, body: str) -> bool:
        """Whether all services have taken it. One that has is not asked again: it would show the message twice."""
        left = [service for service in self._services if not self._taken(service, title, body)]
        for pause in self._pauses:
            if not left or self._given_up.wait(pause):
                break
            left = [service for service in left if not self._taken(service, title, body)]
        return not left

    def _taken(self, service: Apprise, title: str, body: str) -> bool:
        from apprise import NotifyFormat

        try:
            result = service.notify(body=body, title=title, body_format=NotifyFormat.TEXT)
        except Exception as error:  # of a plugin for one of 100 services: an alert that fails must not end the others
            self._trouble = type(error).__name__
            return False
        if not result:
            # Nothing else of what a plugin says is repeated: there may be an address in it.
            codes = [code for entry in result.logs() for code in re.findall(r"error=(\d{3})\b", entry.message)]
            self._trouble = f"HTTP {codes[-1]}" if codes else "no answer"
        return bool(result)


def connect(url: str) -> list[Apprise]:
    """One Apprise object for each address in `url`, so that each can be retried alone."""
    require("notify", f"--monitor.notify (or {NOTIFY_VARIABLE})")
    from apprise import Apprise

    # Apprise logs addresses, in part or in whole, and in them passwords and tokens. They must not reach the handlers of others.
    logging.getLogger("apprise").propagate = False
    together = Apprise()
    if not together.add(url) or not len(together):
        raise InputError(
            f"--monitor.notify (or {NOTIFY_VARIABLE}) does not work: Apprise does not know the service {shown(url)}, or the rest of the "
            "address is not what that service needs. See https://github.com/caronc/apprise#supported-notifications. The address "
            "itself is not shown here, since it may hold a password."
        )
    services = []
    for service in together:
        alone = Apprise()
        alone.add(service)
        services.append(alone)
    return services


def shown(url: str) -> str:
    """The part of an address that is no secret.

    >>> shown("slack://TokenA/TokenB"), shown("mailto://me:pass@x.org,json://host"), shown("pass")
    ('slack://', 'mailto:// json://', '(an address without a scheme)')
    """
    schemes = re.findall(r"(?:^|[\s,])([a-z][a-z0-9+-]{1,15}://)", url, re.IGNORECASE)
    return " ".join(schemes) or "(an address without a scheme)"
