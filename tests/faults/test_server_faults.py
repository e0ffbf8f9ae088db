"""A real server in disorder: every point, param, file and the status arrive exactly once, during the run or by `sync`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from seqsetvae.config import TrackingConfig
from seqsetvae.tracking.write import lane
from seqsetvae.tracking.write.delivery import sync
from seqsetvae.tracking.write.start import start_run
from tests.faults.tally import Tally
from tests.support.mlflow_server import MlflowServer, Proxy, _Forward

pytestmark = [pytest.mark.slow, pytest.mark.nightly]
STEPS = 300


@dataclass(frozen=True)
class Trouble:
    """What goes wrong with the requests whose path holds `where`."""

    status: int = 0
    """The answer, in place of the server's; 0: the server's own."""
    body: bytes = b"out of order"
    where: str = "/"
    seconds: float = 0.0
    cut: bool = False
    """The connection is closed in the middle of the server's answer: it has done what was asked."""
    no_answer: bool = False
    other_server: bool = False
    """Requests reach a server with another database."""


ARTIFACTS = "mlflow-artifacts"
TROUBLES = {
    "no answer": Trouble(no_answer=True),
    "500": Trouble(500),
    "503": Trouble(503),
    "429": Trouble(429),
    "401": Trouble(401),
    "404 of a gateway": Trouble(404),
    "a web page with 200": Trouble(200, b"<html>maintenance</html>"),
    "slower than the client waits": Trouble(seconds=7.0),
    "cut in mid-answer": Trouble(cut=True),
    "another database": Trouble(other_server=True),
    "500 for files only": Trouble(500, where=ARTIFACTS),
    "413 for files only": Trouble(413, where=ARTIFACTS),
    "no answer for files only": Trouble(no_answer=True, where=ARTIFACTS),
}
SAMPLE = (("another database", False), ("413 for files only", True))
"""What the slow tests try of these; True: until the run has ended, and `sync` delivers."""


class Disordered(Proxy):
    trouble: Trouble


class _InDisorder(_Forward):
    server: Disordered

    def _forward(self) -> None:
        trouble = self.server.trouble
        if trouble.where not in self.path:
            super()._forward()
            return
        time.sleep(trouble.seconds)
        if trouble.no_answer:
            self.close_connection = True
        elif trouble.status:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._answer(trouble.status, [], trouble.body)
        else:
            super()._forward()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _forward

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        if not self.server.trouble.cut:
            super()._answer(status, headers, body)
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + 100))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        self.close_connection = True


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[MlflowServer]]:
    """The right one, and one on another database."""
    both = [MlflowServer(tmp_path_factory.mktemp(name)) for name in ("right", "other")]
    for server in both:
        server.start()
    yield both
    for server in both:
        server.kill()


@pytest.fixture
def disorder(servers: list[MlflowServer]) -> Iterator[Callable[[Trouble], Disordered]]:
    """A proxy, and how to put it into a kind of disorder."""
    proxy = Disordered(servers[0].uri)
    proxy.RequestHandlerClass = _InDisorder

    def begin(trouble: Trouble) -> Disordered:
        proxy.trouble = trouble
        proxy.upstream = servers[trouble.other_server].uri
        return proxy

    begin(Trouble())
    proxy.run_in_thread()
    yield begin
    proxy.shutdown()
    proxy.server_close()


def tried(which: tuple[str, bool], disorder: Callable[[Trouble], Disordered], work: Path) -> None:
    """Record a run through a trouble; assert what the store has in the end."""
    trouble, until_sync = TROUBLES[which[0]], which[1]
    uri = disorder(Trouble()).uri
    config = TrackingConfig(tracking_uri=uri, work_dir=str(work), log_system_metrics=False)
    run = start_run(
        config, kind="pretrain", run_name=None, params={"early": 1}, config_yaml="a: 1\n", tags={},
        finish_seconds=3.0 if until_sync else 120.0,
    )  # fmt: skip
    for step in range(50):
        run.log_metrics({"loss": step / 2}, step)
    assert run.flush(60)
    disorder(trouble)
    for step in range(50, 200):
        run.log_metrics({"loss": step / 2}, step)
    run.log_params({"late": 2})
    run.log_text("kept", "notes/a.txt")
    run.checkpoint_dir.mkdir(parents=True)
    (run.checkpoint_dir / "last.ckpt").write_bytes(b"weights")
    run.upload_checkpoints()
    time.sleep(4.0)
    if not until_sync:
        disorder(Trouble())
    for step in range(200, STEPS):
        run.log_metrics({"loss": step / 2}, step)
    delivered = run.finish()
    if until_sync:
        if trouble.where == ARTIFACTS:
            check(uri, run.run_id, files=False)
        # `sync` waits longer for an answer than a run does: from a server that is merely slow it gets everything.
        assert trouble.seconds or not synced(work), "sync says that something is undelivered"
        disorder(Trouble())
        assert synced(work)
    elif not delivered:
        assert synced(work)
    check(uri, run.run_id, files=True)


def synced(work: Path) -> bool:
    """Whether `sync` delivers all that is left. The run's own threads, which live on in this process, may wait for an answer first."""
    while (report := sync(work, echo=str)) and any(outcome.busy for outcome in report.outcomes):
        time.sleep(0.5)
    return report.complete


def check(uri: str, run_id: str, files: bool) -> None:
    """Every step once, every param, the status; with `files` every file too."""
    client = MlflowClient(uri)
    stored = client.get_run(run_id)
    rows = sorted((row.step, row.value) for row in client.get_metric_history(run_id, "loss"))
    assert rows == [(step, step / 2) for step in range(STEPS)]
    assert stored.info.status == "FINISHED"
    assert {"early": "1", "late": "2"}.items() <= stored.data.params.items()
    if files:
        found = {one.path for folder in ("notes", "checkpoints") for one in client.list_artifacts(run_id, folder)}
        assert found == {"notes/a.txt", "checkpoints/last.ckpt"}


def test_a_server_in_disorder_gets_everything_once(tmp_path, disorder, monkeypatch, tally: Tally, how_many: int):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(lane, "LONGEST_PAUSE", 1.0)
    wanted = [(name, until) for name in TROUBLES for until in (False, True)] if how_many else SAMPLE
    failed = {}
    for number, which in enumerate(wanted):
        try:
            tried(which, disorder, tmp_path / str(number))
        except AssertionError as error:
            failed[which] = str(error)
        tally.add(f"server: {which[0]}, {'until sync' if which[1] else 'for a while'}", which not in failed)
    assert failed == {}
