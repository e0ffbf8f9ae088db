"""The journal and its delivery: torn lines, refusals, second deliveries, full segments."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from seqsetvae.tracking.write import answers, shipper
from seqsetvae.tracking.write import journal as journals
from seqsetvae.tracking.write.delivery import deliver, sync
from seqsetvae.tracking.write.spool import Header, Spool
from tests.tracking.recorded_points import ramp, stored_points


@pytest.fixture
def run_id(store: str) -> str:
    client = MlflowClient(store)
    return client.create_run(client.create_experiment("spool")).info.run_id


@pytest.fixture
def journal(store: str, run_id: str) -> Iterator[Spool]:
    spool = Spool.create(Path("outputs"), Header(store, run_id, "1"))
    yield spool
    spool.close()


def leave(spool: Spool, *records: dict) -> None:
    """Write records and be gone."""
    spool.records.append([record for record in records if "file" not in record])
    spool.uploads.append([record for record in records if "file" in record])
    spool.close()


def points(first: int, end: int) -> dict:
    return {"metrics": [["loss", step / 2, step, 1000 + step] for step in range(first, end)]}


def test_a_torn_last_line_is_passed_over_and_later_records_follow(store, run_id, journal):
    leave(journal, points(0, 10))
    with (journal.folder / "000001.jsonl").open("a") as stream:
        stream.write('{"metrics": [["loss", 5.0, 1')
    assert [record for record, _ in journal.records.unsent()] == [points(0, 10)]
    again = Spool.create(Path("outputs"), journal.header)
    leave(again, points(10, 20))
    outcome = deliver(again)
    assert (outcome.delivered, outcome.unsent) == (20, 0)
    assert stored_points(store, run_id, "loss") == ramp(0, 20)


def test_an_interrupted_delivery_goes_on_where_it_stopped(store, journal, monkeypatch):
    monkeypatch.setattr(journals, "SEGMENT_BYTES", 200)
    for first in range(0, 100, 10):
        journal.records.append([points(first, first + 10)])
    assert len(journal.records.segments()) == 10
    ship = shipper.Shipper(journal, journal.records, store)
    ship.batch_size = 25
    ship.ship()
    assert ship.delivered == 20
    assert next(record for record, _ in Spool(journal.folder).records.unsent()) == points(20, 30)
    assert len(journal.records.segments()) < 10, "delivered segments are dropped"


@pytest.mark.parametrize("through_server", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_second_delivery_changes_nothing(store, request, through_server):
    uri = request.getfixturevalue("server").uri if through_server else store
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("twice") or client.get_experiment(client.create_experiment("twice"))
    run = client.create_run(experiment.experiment_id)
    first = Spool.create(Path("outputs"), Header(uri, run.info.run_id, experiment.experiment_id))
    special = {"metrics": [["nan", math.nan, 0, 1], ["inf", math.inf, 0, 1]]}
    dataset = dict.fromkeys(("schema", "profile")) | {
        "name": "demo", "digest": "01", "source_type": "local", "source": "{}", "context": "training",
    }  # fmt: skip
    settings = [{"params": {"a": "1"}}, {"tags": {"t": "1"}}]
    status = {"status": {"status": "FINISHED", "end_time": 5000}}
    leave(first, points(0, 1500), special, *settings, {"dataset": dataset}, status)
    copy = Path(shutil.copytree(first.folder, Path("again", "spool", run.info.run_id)))
    assert deliver(first).unsent == 0
    assert deliver(Spool(copy.absolute())).unsent == 0
    assert stored_points(uri, run.info.run_id, "loss") == ramp(0, 1500)
    stored = client.get_run(run.info.run_id)
    assert [len(client.get_metric_history(run.info.run_id, key)) for key in ("nan", "inf")] == [1, 1]
    assert len(stored.inputs.dataset_inputs) == 1
    assert (stored.info.status, stored.info.end_time) == ("FINISHED", 5000)


def test_a_refused_record_is_set_aside_and_holds_up_nothing(store, run_id, journal, capsys):
    client = MlflowClient(store)
    client.log_param(run_id, "lr", "1e-3")
    bad_name = {"metrics": [["not@allowed", 1.0, 0, 1]]}
    gone = {"file": {"path": "../missing.ckpt", "folder": "checkpoints"}}
    leave(journal, points(0, 700), {"params": {"lr": "0.001", "seed": "1"}}, bad_name, gone, points(700, 1500))
    report = sync("outputs")
    assert not report.complete, "what was refused is not delivered"
    assert report.outcomes[0].rejected == 3
    assert "3 refused by the store" in capsys.readouterr().out
    assert stored_points(store, run_id, "loss") == ramp(0, 1500)
    assert client.get_run(run_id).data.params == {"lr": "1e-3", "seed": "1"}
    rejected = [json.loads(line) for line in journal.rejected.read_text().splitlines()]
    assert [entry["record"] for entry in rejected] == [{"params": {"lr": "0.001"}}, bad_name, gone]
    assert "Changing param values" in rejected[0]["reason"]
    (journal.folder.parent / "missing.ckpt").write_bytes(b"weights")
    (outcome,) = sync("outputs").outcomes
    assert (outcome.delivered, outcome.rejected) == (1, 2), "the file is there now"
    assert [one.path for one in client.list_artifacts(run_id, "checkpoints")] == ["checkpoints/missing.ckpt"]


def test_the_journal_of_a_deleted_run_waits_until_the_run_is_restored(store, run_id, journal):
    client = MlflowClient(store)
    client.delete_run(run_id)
    leave(journal, points(0, 300), {"params": {"seed": "1"}}, points(300, 600))
    outcome = deliver(journal)
    assert (outcome.delivered, outcome.unsent, outcome.rejected) == (0, 3, 0)
    assert "runs restore" in outcome.trouble
    client.restore_run(run_id)
    assert deliver(journal).complete
    assert stored_points(store, run_id, "loss") == ramp(0, 600)


def test_files_that_no_store_takes_hold_up_neither_points_nor_the_status(store, run_id, journal):
    (journal.folder.parent / "file.txt").write_bytes(b"kept")
    Path(MlflowClient(store).get_run(run_id).info.artifact_uri).parent.mkdir(parents=True)
    Path(MlflowClient(store).get_run(run_id).info.artifact_uri).write_text("a file where the folder should be")
    upload = {"file": {"path": str(journal.folder.parent / "file.txt"), "folder": ""}}
    leave(journal, upload, points(0, 10), {"status": {"status": "FINISHED", "end_time": 5000}})
    outcome = deliver(journal)
    assert (outcome.delivered, outcome.unsent) == (11, 1)
    assert stored_points(store, run_id, "loss") == ramp(0, 10)
    assert MlflowClient(store).get_run(run_id).info.status == "FINISHED"


def test_sync_leaves_a_live_run_alone(store, open_run):
    run = open_run(store)
    (outcome,) = sync("outputs").outcomes
    assert outcome.busy
    run.log_metrics({"loss": 1.0}, 0)
    assert run.finish()


def test_a_file_that_is_refused_again_and_again_is_kept(store, run_id, journal):
    folder = Path(MlflowClient(store).get_run(run_id).info.artifact_uri)
    path = journal.keep_content(b"kept", "a.txt")
    journal.reject({"file": {"path": str(path), "folder": "notes"}}, "too large")
    journal.close()
    for _ in range(3):
        journal.offer_rejected_again()
        [(record, _)] = journal.uploads.unsent()
        assert journal.file_of(record["file"]).read_bytes() == b"kept"
        ship = shipper.Shipper(journal, journal.uploads, store)
        ship._send_file = refuse
        while ship.ship():
            pass
        assert [journal.file_of(record["file"]).read_bytes() for record, _ in journal.rejections()] == [b"kept"]
    assert deliver(Spool(journal.folder)).complete
    assert (folder / "notes" / "a.txt").read_bytes() == b"kept"


def refuse(content: dict) -> None:
    """As a server that answers 413."""
    raise answers.RefusedError("too large")
