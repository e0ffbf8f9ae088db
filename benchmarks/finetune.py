"""A finetuning epoch on cached features, against one that runs the backbone patient by patient and set by set."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from seqsetvae.batch import EventBatch
from seqsetvae.certify.table import Table
from seqsetvae.config import FinetuneConfig, ModelConfig
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.store import Store
from seqsetvae.model.classifier import RiskHead, pool_over_time
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.posterior import DiagonalGaussian
from seqsetvae.training.finetuning.features import labelled_stays
from seqsetvae.training.finetuning.head_training import Examples, train_head
from seqsetvae.training.finetuning.members import inputs

EPOCHS = 20


def measure(quick: bool = False) -> list[Table]:
    """Seconds per patient and epoch at the source project's widths, each the best of some repeats."""
    store = open_store("demo")
    config = ModelConfig(width=32, latent_dim=32, levels=1, ff_dim=32, history_layers=1) if quick else ModelConfig()
    torch.manual_seed(0)
    vae = SeqSetVAE(config, len(store.vocabulary)).eval()
    walked = 2 if quick else 12
    repeats = 1 if quick else 3
    by_walking = min(timed(lambda: walk(vae, config, store, walked)) for _ in range(repeats)) / walked
    begun = time.perf_counter()
    stays = labelled_stays(store.vocabulary, store, "train")
    examples = Examples(inputs(vae, "posterior+history", stays), stays.label_B)
    first = (time.perf_counter() - begun) / len(stays.label_B)
    settings = FinetuneConfig(max_epochs=EPOCHS, patience=EPOCHS)
    kind = stays.kind.fit(stays.label_B, (), settings)
    cached = min(timed(lambda: train_head(examples, examples, kind, settings)) for _ in range(repeats))
    cached /= EPOCHS * len(stays.label_B)
    rows: list[tuple[object, ...]] = [
        ("patient by patient, set by set", f"{by_walking * 1e3:.2f}", "1x"),
        ("cached features", f"{cached * 1e3:.3f}", f"{by_walking / cached:,.0f}x"),
        ("first epoch: features, then head", f"{(first + cached) * 1e3:.2f}", f"{by_walking / (first + cached):.1f}x"),
    ]
    note = (
        f"Demo stays, {torch.get_num_threads()} threads, width {config.width}, frozen backbone in both. The first row encodes each set by "
        f"itself, without gradients, and trains the head on one patient at a time ({walked} of them); validation is counted in the "
        f"others only. Best of {repeats}."
    )
    return [Table("Finetuning epoch", ("backbone", "ms per patient", "speed"), rows, note)]


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def walk(vae: SeqSetVAE, config: ModelConfig, store: Store, patients: int) -> None:
    """One epoch over some patients as the source project goes about it."""
    head = RiskHead(3 * (2 * config.latent_dim + config.width), 128, 0.3)
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-4)
    for row in range(patients):
        stay = store.gather("train", 0, np.array([row]))
        with torch.no_grad():
            found = [vae.encode(single_set(stay, number)) for number in range(stay.n_sets)]
            posterior = DiagonalGaussian(torch.cat([q.mu_SZ for q in found]), torch.cat([q.logvar_SZ for q in found]))
            moments_SF = torch.cat([posterior.mu_SZ, posterior.logvar_SZ.exp()], 1)
            features = [pool_over_time(x, stay) for x in (moments_SF, vae.history(posterior.mu_SZ, stay))]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(head(torch.cat(features, 1)), stay.label_B)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def single_set(stay: EventBatch, number: int) -> EventBatch:
    """One set of a stay as a batch of its own."""
    events = stay.set_N == number
    zero = torch.zeros(1, dtype=torch.int64)
    return EventBatch(
        variable_N=stay.variable_N[events],
        value_N=stay.value_N[events],
        set_N=torch.zeros(int(events.sum()), dtype=torch.int64),
        minute_S=stay.minute_S[number : number + 1],
        subject_S=zero,
        position_S=zero,
        label_B=stay.label_B,
        row_B=stay.row_B,
        first_slot_B=zero,
        grid=((1, 1),),
    )
