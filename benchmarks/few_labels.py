"""What a frozen backbone's states are worth when labels are few: a linear probe on all, 10 % and 1 % of the labels of one store.

The probe is a logistic regression on standardized features; its strength is chosen by cross-validation within the labels drawn: the
strongest within one standard error of the best (Breiman et al. 1984), since seven deaths in 51 stays tell little of which is best. The
draws are those of seeds 0, 1, ..., the same for every row. The test stays choose nothing: what the validation stays say of each row,
beside it, is what the settings of the pretrainings, and which statements make the outlook, were chosen by.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

from benchmarks.backbones import LONGER, PLAIN, READING, REMEMBERING, pretrained
from seqsetvae.certify.table import Table
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.tasks import kind_of, open_task
from seqsetvae.errors import InputError
from seqsetvae.model.classifier import FARTHEST, HISTORY, OUTLOOK, POSTERIOR, SUMMARIES
from seqsetvae.scores import Floats, auroc, average_precision
from seqsetvae.tasks.binary import Binary
from seqsetvae.training.finetuning.features import LabelledStays, compute_features, labelled_stays
from seqsetvae.training.pretrained.exported import Pretrained
from seqsetvae.training.pretrained.loading import from_checkpoint

SHARES = {"all labels": (1.0, 1), "10 %": (0.1, 5), "1 %": (0.01, 10)}
"""Share of the training labels, and how many draws of it."""
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""C of the logistic regression, ascending: the smaller, the nearer to 0 are its weights."""
FOLDS = 5
"""Of the cross-validation; each holds at least one stay of either outcome."""
PRETRAININGS = {
    "plain": PLAIN,
    "remembers and foresees": REMEMBERING,
    "with reads of each variable": READING,
    f"with reads, {LONGER.trainer.max_epochs} epochs": LONGER,
}
HEADS = "heads"
SAID_OF = {  # in the order of the table
    SUMMARIES: "nine summaries of each variable, no backbone",
    POSTERIOR: "posterior",
    HISTORY: "pooled state",
    HEADS: "what its heads say at the last set",
    OUTLOOK: "its outlook: last values, counts, and the next 24 hours",
}
SPLITS = ("train", "valid", "test")


def measure(
    quick: bool = False,
    store: str = "demo",
    labels: str | None = None,
    task: str | None = None,
    pretrained_on: str | None = None,
) -> list[Table]:
    """Pretrain in each way, and probe each part of the states; the summaries of each variable, without a backbone, beside them.

    The pretrainings see no outcome: they are the same for the store's own and for those of a table of `labels`. They may be of another
    store: then no stay that is probed, trained or tested on was seen in pretraining.
    """
    rows: list[tuple[object, ...]] = []
    for name, config in PRETRAININGS.items():
        model = from_checkpoint(pretrained(config, pretrained_on or store, quick))
        stays = stays_of(model, store, labels, task)
        features = {split: features_of(model, one) for split, one in stays.items()}
        for part in features["train"]:
            called = f"{name}, {SAID_OF[part]}"
            if part == SUMMARIES:
                if name != next(iter(PRETRAININGS)):  # they are the same whatever the model
                    continue
                called = SAID_OF[part]
            rows.append((called, *probe({split: found[part] for split, found in features.items()}, stays)))
    test = stays["test"].label_B
    note = (
        f"AUROC / AUPRC on {len(test)} test stays, {int(test.sum())} positive; of shares the mean over {SHARES['10 %'][1]} and "
        f"{SHARES['1 %'][1]} draws, ± their standard deviation. {PLAIN.trainer.max_epochs} epochs of pretraining "
        "where no other number is said."
    )
    header = ("features", "validation, all labels", *SHARES)
    return [
        Table(f"Few labels: linear probes of frozen backbones, {task or 'outcomes of the store'}", header, rows, note)
    ]


def stays_of(
    model: Pretrained, store: str, labels: str | None = None, task: str | None = None
) -> dict[str, LabelledStays]:
    """Labelled stays by split.

    Raises:
        InputError: the outcomes are not 0 or 1.
    """
    opened = open_task(open_store(store), labels, task, at_hours=None)
    if kind_of(opened) != Binary.name:
        raise InputError(f"--labels {labels}: a linear probe needs outcomes of 0 or 1; these are {kind_of(opened)}.")
    return {split: labelled_stays(model.vocabulary, opened, split) for split in SPLITS}


@torch.inference_mode()
def features_of(model: Pretrained, stays: LabelledStays) -> dict[str, Floats]:
    """Everything that is probed, by part, (B, F) each, in the order of the stays."""
    vae = model.vae
    parts = (SUMMARIES, POSTERIOR, HISTORY, *([OUTLOOK] if vae.history_heads is not None else []))
    found = compute_features(vae, stays, parts)
    if vae.history_heads is not None:
        # Of the pooled state: the history's at the last set, then its mean and greatest value; behind these the reads there.
        width = model.config.width
        history_BD, _, reads_BF, _ = found[HISTORY].tensor_split([width, 3 * width, 3 * width + vae.read_width], dim=1)
        found[HEADS] = vae.history_heads.statements(torch.cat([history_BD, reads_BF], dim=1))
    return {part: found[part].double().numpy() for part in SAID_OF if part in found}


def probe(features: Mapping[str, Floats], stays: Mapping[str, LabelledStays]) -> list[str]:
    """AUROC / AUPRC on the validation stays with all labels, then on the test stays for each share of the labels, in words.

    Args:
        features: by split, (B, F) each.
        stays: by split.
    """
    label = {split: one.label_B.double().numpy() for split, one in stays.items()}
    # Every stay may be looked at: only its label is dear.
    mean_F, std_F = np.nanmean(features["train"], 0), np.nanstd(features["train"], 0)
    scaled = {
        split: np.nan_to_num(((x - mean_F) / np.where(std_F > 0, std_F, 1)).clip(-FARTHEST, FARTHEST))
        for split, x in features.items()
    }
    auroc_valid, auprc_valid = probe_draw(scaled, label, stays["train"], share=1.0, seed=0, scored="valid")
    said = [f"{auroc_valid:.3f} / {auprc_valid:.3f}"]
    for share, draws in SHARES.values():
        if np.bincount(stays["train"].some(share, seed=0).packed.label_B.astype(np.int64)).min() < FOLDS:
            said.append("too few stays")
            continue
        scores = np.array([probe_draw(scaled, label, stays["train"], share, seed) for seed in range(draws)])
        spread = "" if draws == 1 else f" (± {scores[:, 0].std():.3f} / {scores[:, 1].std():.3f})"
        said.append(f"{scores[:, 0].mean():.3f} / {scores[:, 1].mean():.3f}{spread}")
    return said


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
        tried = LogisticRegressionCV(
            Cs=STRENGTHS, cv=FOLDS, scoring="neg_log_loss", max_iter=300, use_legacy_attributes=False, refit=False
        )
        tried.fit(scaled["train"][rows], label["train"][rows])
        chosen = LogisticRegression(C=strongest(np.squeeze(tried.scores_, axis=1)), max_iter=300)
        chosen.fit(scaled["train"][rows], label["train"][rows])
    risk_B = chosen.decision_function(scaled[scored])
    return auroc(label[scored], risk_B), average_precision(label[scored], risk_B)


def strongest(score_FC: Floats) -> float:
    """The smallest C whose mean score over the folds is within one standard error of the best.

    Args:
        score_FC: of each fold and each of `STRENGTHS`; the greater the better.

    >>> strongest(np.array([[-0.46, -0.40, -0.38, -0.50], [-0.50, -0.44, -0.44, -0.50]]))
    0.001
    """
    mean_C = score_FC.mean(0)
    best = int(mean_C.argmax())
    allowed = score_FC[:, best].std(ddof=1) / np.sqrt(len(score_FC))
    return STRENGTHS[int(np.argmax(mean_C >= mean_C[best] - allowed))]
