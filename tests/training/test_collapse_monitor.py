"""The monitor on real trainings: somebody else's VAE, ours, several devices, bad input."""

from __future__ import annotations

import json
import os
import re
import warnings
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import lightning.pytorch as pl
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image

from seqsetvae import names, palette
from seqsetvae.app.main import main
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.config import MonitorConfig, ObjectiveConfig
from seqsetvae.errors import InputError
from seqsetvae.posterior import DiagonalGaussian
from seqsetvae.tracking.compat.image_series import THUMBNAIL_WIDTH
from seqsetvae.training.checkpoint_names import step_of
from seqsetvae.training.checkpoints import load_model, read_checkpoint
from seqsetvae.training.fit import pretrain
from seqsetvae.training.module import PretrainModule
from seqsetvae.training.monitor.collapse_monitor import CollapseMonitor
from seqsetvae.training.monitor.collapse_outcome import PosteriorNotFinite
from seqsetvae.training.monitor.decoder_probe import DecoderProbe
from seqsetvae.training.monitor.offered import as_latents
from seqsetvae.training.monitor.posterior_pool import PosteriorPool
from tests.support.commands import fork
from tests.support.mlflow_server import free_port
from tests.training.plain_vae import PlainVAE, loader

WATCH = MonitorConfig(update_frequency=5, plot_frequency=50, early_stop_patience=3, grace_steps=20)


def watch(module: pl.LightningModule, monitor: CollapseMonitor, epochs: int = 5) -> CollapseMonitor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        pl.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            callbacks=[monitor],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(module, loader())
    return monitor


def test_any_module_with_a_posterior_is_watched_without_mlflow(tmp_path):
    config = replace(WATCH, log_dir=str(tmp_path / "logs"))
    collapsed = watch(PlainVAE(beta=20.0), CollapseMonitor(config)).outcome
    assert collapsed.level == Level.RED
    assert collapsed.stopped_at is not None
    assert collapsed.last.active_units == 0
    healthy = watch(PlainVAE(beta=0.5), CollapseMonitor(replace(WATCH, log_dir=None))).outcome
    assert (healthy.level, healthy.worst) == (Level.GREEN, Level.GREEN)
    assert 0.1 < healthy.last.decoder_information < 2.08
    assert healthy.last.active_units == 4  # the variances above beta
    assert "posterior collapse detected! Step:" in (tmp_path / "logs" / "collapse_detection.log").read_text()
    assert not Path("mlruns").exists()


def test_a_module_without_a_posterior_is_refused_before_training():
    class Blind(PlainVAE):
        def __getattribute__(self, name):
            if name == "posterior":
                raise AttributeError(name)
            return super().__getattribute__(name)

    with pytest.raises(InputError, match=r"Blind offers no posterior to watch. Set `self.posterior ="):
        watch(Blind(beta=1.0), CollapseMonitor(WATCH))


def test_a_module_that_never_sets_its_posterior_is_refused():
    class Silent(PlainVAE):
        def training_step(self, x, _):
            loss = super().training_step(x, _)
            self.posterior = None
            return loss

    with pytest.raises(InputError, match=r"Silent\.training_step has not set self.posterior"):
        watch(Silent(beta=1.0), CollapseMonitor(WATCH))


@pytest.mark.slow
@pytest.mark.usefixtures("empty_store")
def test_a_collapsed_run_is_red_backed_up_and_stopped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "collapsing.yaml"
    path.write_text(
        "data: {batch_size: 32}\n"
        "model: {width: 8, latent_dim: 4, levels: 1, heads: 2, ff_dim: 8, history_layers: 1}\n"
        "trainer: {max_epochs: 30, progress_bar: false}\n"
        "optimizer: {lr: 0.01}\n"
        "monitor: {grace_steps: 20, plot_frequency: 100}\n"
        "tracking: {log_system_metrics: false}\n"
    )
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", "--config", str(path), "--max_beta", "50"])
    assert ended.value.code == 3
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    (run,) = client.search_runs(["1"], filter_string="tags.collapse = 'red'")
    assert run.info.status == "KILLED"
    assert run.data.tags[names.TAG_ENDED_BY] == f"posterior collapse at step {run.data.tags['collapse.step']}"
    note = run.data.tags["mlflow.note.content"]
    assert note.startswith(f"🔴 **Posterior collapse since step {run.data.tags['collapse.step']}, ended at step ")
    assert run.data.tags["mlflow.runColor"] == palette.VERMILION
    assert run.data.metrics[names.COLLAPSE_LEVEL] == 3

    table = client.load_table("1", names.ARTIFACT_ALERTS, run_ids=[run.info.run_id])
    assert table["level"].iloc[-1] == "red"
    folder = Path(run.info.artifact_uri)
    [backup] = (folder / "checkpoints").glob("model_before_collapse_step_*.ckpt")
    load_model(backup)
    assert read_checkpoint(backup)["global_step"] < int(run.data.tags["collapse.step"])
    # Every epoch is validated, and the NLL falls on: what is best is from before all the same.
    nll = {point.step: point.value for point in client.get_metric_history(run.info.run_id, names.VAL_RECON)}
    red_from = int(run.data.tags["collapse.step"])
    before = [step for step in nll if step < red_from]
    best = {step_of(path.name) for path in (folder / "checkpoints").glob("best_*.ckpt")}
    assert best == set(sorted(before, key=lambda step: nll[step])[:2])
    assert min(nll[step] for step in nll if step >= red_from) < min(nll[step] for step in before)
    images = {tuple(path.name.split("+")[:3]) for path in (folder / "images").iterdir()}
    assert {key for key, _, _ in images} - {"collapse~lost"} == {"collapse~metrics", "collapse~kl_per_dimension"}
    assert ("collapse~metrics", "step", "0") in images, "the panel would open on nothing"
    [shown] = re.findall(r"!\[.*\]\(get-artifact\?path=(.*)&run_uuid=(.*)\)", note)
    assert shown[1] == run.info.run_id
    with Image.open(folder / unquote(shown[0])) as image:
        assert image.width <= THUMBNAIL_WIDTH
    linked = re.findall(r"\(#/experiments/1/runs/\w+/artifacts/([^?]*)\?", note)
    assert names.ARTIFACT_ALERTS in linked
    assert all((folder / path).exists() for path in linked)
    assert "Collapse detected: yes" in (folder / names.ARTIFACT_COLLAPSE_REPORT).read_text()


@pytest.mark.slow
def test_a_rescue_ends_healthy_and_shows_where_it_comes_from(tiny):
    config = replace(
        tiny,
        optimizer=replace(tiny.optimizer, lr=1e-2),
        objective=ObjectiveConfig(max_beta=50.0),
        monitor=MonitorConfig(on_collapse="rescue", update_frequency=5),
        trainer=replace(tiny.trainer, max_epochs=20),
    )
    result = pretrain(config)
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    child = client.get_run(result.run_id)
    parent = client.get_run(child.data.tags[names.TAG_RESCUED_RUN])
    assert (parent.info.status, child.info.status) == ("KILLED", "FINISHED")
    assert (parent.data.tags["collapse"], child.data.tags["collapse"]) == ("red", "green")
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.info.run_name.startswith("rescue 1: lr 0.01, ")
    assert f", KL 10 controller, z {tiny.model.latent_dim}, demo, " in child.info.run_name
    for one, other in ((parent, child), (child, parent)):
        assert f"](#/experiments/1/runs/{other.info.run_id}?" in one.data.tags["mlflow.note.content"]
    assert parent.data.tags[names.TAG_RESCUED_BY] == child.info.run_id
    assert child.data.params["objective/beta_schedule"] == "controller"
    assert result.collapse.last.mutual_information > 0.5


def test_nan_stops_the_run_with_a_checkpoint_and_a_reason(tiny, monkeypatch):
    original = PretrainModule.training_step

    def training_step(self, batch, batch_idx):
        loss = original(self, batch, batch_idx)
        if self.global_step == 12:
            self.posterior = DiagonalGaussian(self.posterior.mu_SZ * float("nan"), self.posterior.logvar_SZ)
        return loss

    monkeypatch.setattr(PretrainModule, "training_step", training_step)
    with pytest.raises(PosteriorNotFinite, match="A posterior holds NaN or inf at step 13"):
        pretrain(tiny)
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    (run,) = client.search_runs(["1"])
    assert (run.info.status, run.data.tags["collapse"]) == ("FAILED", "red")
    assert run.data.tags[names.TAG_ENDED_BY] == "PosteriorNotFinite"
    said = "⏹️ **Broken off: PosteriorNotFinite.** A posterior holds NaN or inf at step 13"
    assert run.data.tags["mlflow.note.content"].startswith(said)
    assert (Path(run.info.artifact_uri) / "checkpoints" / "error_0000013.ckpt").is_file()
    alerts = json.loads((Path(run.info.artifact_uri) / names.ARTIFACT_ALERTS).read_text())
    assert "a posterior holds NaN or inf" in str(alerts["data"][-1])


def test_switched_off_means_off(tiny):
    result = pretrain(replace(tiny, monitor=MonitorConfig(disable_metrics_monitoring=True)))
    run = MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).get_run(result.run_id)
    assert result.collapse is None
    assert not [key for key in {**run.data.metrics, **run.data.tags} if key.startswith("collapse")]


def test_the_address_of_alerts_is_not_recorded(tiny):
    result = pretrain(replace(tiny, monitor=MonitorConfig(notify="json://user:secret@127.0.0.1:9/hook")))
    run = MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).get_run(result.run_id)
    folder = Path(run.info.artifact_uri)
    assert "secret" not in str(run.data.to_dictionary())
    assert "secret" not in (folder / names.ARTIFACT_CONFIG).read_text()
    assert b"secret" not in (folder / "checkpoints" / "last.ckpt").read_bytes()


class Listener(torch.nn.Module):
    """Answers with the squared distance between latent and batch."""

    def negative_log_likelihood(self, z_SZ, batch_SZ):
        return 0.5 * (z_SZ - batch_SZ).square().sum(1)


def figures_of(mu_SZ, logvar_SZ) -> dict[str, float]:
    pool = PosteriorPool(1024, torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1)
    probe = DecoderProbe(sets=4096)
    for mu, logvar in zip(mu_SZ.chunk(4), logvar_SZ.chunk(4), strict=True):
        pool.add(as_latents(DiagonalGaussian(mu, logvar)), mu.square().sum(1).mean())
        probe.keep(mu, pool.steps[-1].latents, pool.steps[-1].serial)
    measured = pool.measure(7, 0.5, probe.measure(Listener(), pool.steps, 7), seed=7)
    q = measured.posterior
    return {
        "sets": q.sets,
        **{f"kl_{d}": value for d, value in enumerate(q.kl_Z.tolist())},
        **{f"signal_{d}": value for d, value in enumerate(q.signal_Z.tolist())},
        "mutual information": q.mutual_information.item(),
        "variance": q.mean_variance_Z.mean().item(),
        "recon": measured.recon.item(),
        "decoder": measured.decoder.bound.item(),
    }


def drawn_posterior() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1024, 6, generator=generator), torch.randn(1024, 6, generator=generator) - 1.0


def on_one_rank(rank: int, port: int, out: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    mine = slice(0, 512) if rank == 0 else slice(512, None)
    figures = figures_of(*(part_SZ[mine] for part_SZ in drawn_posterior()))
    (out / f"{rank}.json").write_text(json.dumps(figures))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_devices_give_the_figures_of_one(tmp_path):
    alone, port = figures_of(*drawn_posterior()), free_port()
    processes = [fork(on_one_rank, rank, port, tmp_path) for rank in (0, 1)]
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    one, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert one == other
    # Each device exchanges latents of its own pool, with noise of its own.
    assert one.pop("decoder") == pytest.approx(alone["decoder"], abs=0.1)
    assert one == pytest.approx({key: alone[key] for key in one}, abs=1e-5)
