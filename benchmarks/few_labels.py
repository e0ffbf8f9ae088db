"""What a frozen backbone's states are worth when labels are few: a linear probe on all, 10 % and 1 % of the labels of one store.

The probe is a logistic regression on standardized features; its strength is chosen by cross-validation within the labels drawn. The draws
are those of seeds 0, 1, ..., the same for every row. The test stays choose nothing: what the validation stays say of each row, beside it,
is what the settings of the pretrainings were chosen by.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegressionCV
from torch import Tensor

from benchmarks.mortality import PRETRAINING, QUICK
from seqsetvae.certify.table import Table
from seqsetvae.config import PretrainConfig
from seqsetvae.data.by_length import by_length
from seqsetvae.data.demo_store import open_store
from seqsetvae.model.classifier import FARTHEST, HISTORY, POSTERIOR, SUMMARIES
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.scores import Floats, auroc, average_precision
from seqsetvae.training.finetuning.features import LabelledStays, compute_features, labelled_stays
from seqsetvae.training.pretrained.exported import Pretrained
from seqsetvae.training.pretrained.loading import from_checkpoint

FOLDER = Path("few_labels_comparison")
"""Where the checkpoints are kept: a comparison that was stopped goes on with what is missing."""
SHARES = {"all labels": (1.0, 1), "10 %": (0.1, 5), "1 %": (0.01, 10)}
"""Share of the training labels, and how many draws of it."""
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""C of the logistic regression: the smaller, the nearer to 0 are its weights."""
EPOCHS = 4
PLAIN = replace(PRETRAINING, trainer=replace(PRETRAINING.trainer, max_epochs=EPOCHS))
REMEMBERING = replace(PLAIN, model=replace(PLAIN.model, remember=True, foresee_hours=[1.0, 6.0, 24.0]))
PRETRAININGS = {
    "plain": PLAIN,
    "remembers and foresees": REMEMBERING,
    "with reads of each variable": replace(REMEMBERING, model=replace(REMEMBERING.model, reads=4)),
}
PARTS = {"posterior": POSTERIOR, "history": HISTORY}
HEADS = "heads"
"""Summaries and forecasts as the heads on the history give them at a stay's last set."""
SPLITS = ("train", "valid", "test")


def measure(quick: bool = False, store: str = "demo") -> list[Table]:
    """Pretrain in each way, and probe each part of the states; the summaries of each variable, without a backbone, beside them."""
    rows: list[tuple[object, ...]] = []
    for name, config in PRETRAININGS.items():
        model = from_checkpoint(pretrained(name, config, store, quick))
        stays = stays_of(model, store)
        if not rows:
            rows.append(("nine summaries of each variable, no backbone", *probe(model, stays, SUMMARIES)))
        rows += [(f"{name}, {part}", *probe(model, stays, key)) for part, key in PARTS.items()]
        if model.vae.history_heads is not None:
            rows.append((f"{name}, what its heads say at the last set", *probe(model, stays, HEADS)))
    test = stays["test"].label_B
    note = (
        f"AUROC / AUPRC on {len(test)} test stays, {int(test.sum())} positive; of shares the mean over {SHARES['10 %'][1]} and "
        f"{SHARES['1 %'][1]} draws, ± their standard deviation. {EPOCHS} epochs of pretraining."
    )
    header = ("features", "validation, all labels", *SHARES)
    return [Table("Few labels: linear probes of frozen backbones", header, rows, note)]


def pretrained(name: str, config: PretrainConfig, store: str, quick: bool) -> Path:
    """The checkpoint of a pretraining, made where it is missing."""
    from seqsetvae.training.fit import pretrain

    kept = FOLDER / f"{name.replace(' ', '_')}.json"
    if not kept.is_file():
        config = replace(config, data=replace(config.data, store=store))
        if quick:
            asked = {name: getattr(config.model, name) for name in ("remember", "foresee_hours", "reads")}
            config = replace(config, model=replace(QUICK, **asked), trainer=replace(config.trainer, max_epochs=1))
        checkpoint = pretrain(config).final_checkpoint
        FOLDER.mkdir(exist_ok=True)
        kept.write_text(json.dumps({"checkpoint": str(checkpoint)}), encoding="utf-8")
    return Path(json.loads(kept.read_text(encoding="utf-8"))["checkpoint"])


def stays_of(model: Pretrained, store: str) -> dict[str, LabelledStays]:
    """Labelled stays by split."""
    opened = open_store(store)
    return {split: labelled_stays(model.vocabulary, opened, split) for split in SPLITS}


def probe(model: Pretrained, stays: Mapping[str, LabelledStays], part: str) -> list[str]:
    """AUROC / AUPRC on the validation stays with all labels, then on the test stays for each share of the labels, in words."""
    features, label = {}, {}
    for split, one in stays.items():
        found = heads_at_the_end(model.vae, one) if part == HEADS else compute_features(model.vae, one, [part])[part]
        features[split] = found.double().numpy()
        label[split] = one.label_B.double().numpy()
    # Every stay may be looked at: only its label is dear.
    mean_F, std_F = np.nanmean(features["train"], 0), np.nanstd(features["train"], 0)
    scaled = {
        split: np.nan_to_num(((x - mean_F) / np.where(std_F > 0, std_F, 1)).clip(-FARTHEST, FARTHEST))
        for split, x in features.items()
    }
    auroc_valid, auprc_valid = probe_draw(scaled, label, stays["train"], share=1.0, seed=0, scored="valid")
    said = [f"{auroc_valid:.3f} / {auprc_valid:.3f}"]
    for share, draws in SHARES.values():
        scores = np.array([probe_draw(scaled, label, stays["train"], share, seed) for seed in range(draws)])
        spread = "" if draws == 1 else f" (± {scores[:, 0].std():.3f} / {scores[:, 1].std():.3f})"
        said.append(f"{scores[:, 0].mean():.3f} / {scores[:, 1].mean():.3f}{spread}")
    return said


@torch.inference_mode()
def heads_at_the_end(vae: SeqSetVAE, stays: LabelledStays) -> Tensor:
    """All that the heads on the history say at the last set of each stay, (B, F)."""
    assert vae.history_heads is not None
    order_B, batches = by_length(stays.packed, stays.vocabulary)
    found = []
    for batch in batches:
        last_B = torch.bincount(batch.subject_S, minlength=batch.n_subjects).cumsum(0) - 1
        state_SD = vae.state(vae.encode(batch).mu_SZ, batch)
        found.append(vae.history_heads.statements(state_SD[last_B]))
    return torch.cat(found)[torch.from_numpy(np.argsort(order_B))]


def probe_draw(
    scaled: Mapping[str, Floats],
    label: Mapping[str, Floats],
    train: LabelledStays,
    share: float,
    seed: int,
    scored: str = "test",
) -> tuple[float, float]:
    """AUROC and AUPRC of one draw of the training labels, on the stays of the split that is scored."""
    drawn = train.some(share, seed)
    place = {name: row for row, name in enumerate(train.subject_id)}
    rows = np.array([place[name] for name in drawn.subject_id])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a fold that has not converged: then another strength is chosen
        chosen = LogisticRegressionCV(
            Cs=STRENGTHS, cv=5, scoring="neg_log_loss", max_iter=300, use_legacy_attributes=False
        )
        chosen.fit(scaled["train"][rows], label["train"][rows])
    risk_B = chosen.decision_function(scaled[scored])
    return auroc(label[scored], risk_B), average_precision(label[scored], risk_B)
