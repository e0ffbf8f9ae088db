"""Does the pretrained model earn its place? Finetuned in several ways, and the baselines, on the same stays, split and run.

The test stays choose nothing: epochs, members and heads are chosen on the validation stays, and the settings below were, too.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from benchmarks.backbones import LONGER, TRACKING, finetuned, pretrained
from seqsetvae import names
from seqsetvae.certify.table import Table
from seqsetvae.config import EvaluateConfig, FinetuneConfig
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.sources.physionet2012_tasks import DEATH_WITHIN, FILE
from seqsetvae.evaluation.baselines import Stays, baseline_risks
from seqsetvae.evaluation.hand_features import features_of
from seqsetvae.evaluation.predictions import hand_made
from seqsetvae.scores import Floats, auroc, average_precision, difference, with_intervals
from seqsetvae.training.finetuning.features import labelled_stays
from seqsetvae.training.pretrained.exported import DESCRIPTION

SEEDS = 4
FROZEN = FinetuneConfig(loss="plain", n_seeds=SEEDS)
WIDE = replace(
    FROZEN,
    head_input="history+summaries",
    unfreeze="all",
    backbone_lr=3e-4,
    batch_size=32,
    dropout=0.4,
    max_epochs=8,
    patience=3,
)
NARROW = replace(WIDE, head_input="outlook+summaries", max_epochs=10)
"""Under a head that sees a third as many numbers: what pretraining is worth depends on it."""
UNFROZEN = replace(
    WIDE,
    auxiliary=",".join(f"death_{days}_days" for days in DEATH_WITHIN),
    ema_decay=0.99,
    max_epochs=10,
    n_seeds=2 * SEEDS,
)
LINEAR = replace(FROZEN, head_input="outlook+summaries", hidden=0, n_seeds=1)
SHARE = 0.1
FEW_LABELS = replace(NARROW, label_share=SHARE, max_epochs=15, patience=5)
VARIANTS = {
    "unfrozen": UNFROZEN,
    "from scratch": replace(UNFROZEN, from_scratch=True),
    "unfrozen, death in hospital alone": WIDE,
    "from scratch, death in hospital alone": replace(WIDE, from_scratch=True),
    "unfrozen, outlook and summaries": NARROW,
    "from scratch, outlook and summaries": replace(NARROW, from_scratch=True),
    "unfrozen, 10 % of labels": FEW_LABELS,
    "from scratch, 10 % of labels": replace(FEW_LABELS, from_scratch=True),
    "summaries alone": replace(FROZEN, head_input="summaries"),
    "frozen, posterior": replace(FROZEN, head_input="posterior"),
    "frozen, pooled state": replace(FROZEN, head_input="history"),
    "frozen, pooled state and summaries": replace(FROZEN, head_input="history+summaries"),
    "frozen, outlook": replace(FROZEN, head_input="outlook"),
    "frozen, outlook, 10 % of labels": replace(FROZEN, head_input="outlook", label_share=SHARE),
    "linear, outlook and summaries": LINEAR,
    "linear, outlook and summaries, 10 % of labels": replace(LINEAR, label_share=SHARE),
}
"""What is compared, in the order of the table. `unfrozen` is the one to use."""
BOOSTING = "gradient boosting"
FEW_BOOSTING = "gradient boosting, 10 % of labels"
PAIRS = (
    ("unfrozen", BOOSTING),
    ("unfrozen", "summaries alone"),
    ("unfrozen", "from scratch"),
    ("unfrozen", "unfrozen, death in hospital alone"),
    ("unfrozen, death in hospital alone", "from scratch, death in hospital alone"),
    ("unfrozen, outlook and summaries", "from scratch, outlook and summaries"),
    ("unfrozen, 10 % of labels", FEW_BOOSTING),
    ("unfrozen, 10 % of labels", "from scratch, 10 % of labels"),
    ("frozen, outlook, 10 % of labels", FEW_BOOSTING),
    ("linear, outlook and summaries, 10 % of labels", FEW_BOOSTING),
)


def measure(quick: bool = False, store: str = "demo") -> list[Table]:
    """Pretrain, finetune in every way, and evaluate all of it once on the test stays."""
    from seqsetvae.evaluation.evaluate import evaluate

    backbone = str(pretrained(LONGER, store, quick))
    folder_of = {
        name: finetuned(name, with_table(replace(config, model=backbone, store=store)), quick)
        for name, config in VARIANTS.items()
    }
    config = EvaluateConfig(",".join(map(str, folder_of.values())), store)
    found = evaluate(config, replace(TRACKING, run_name=f"comparison on {Path(store).name}"))
    name_of = {str(folder): name for name, folder in folder_of.items()}
    risks = {name_of.get(model, model): risk_B for model, risk_B in found.risks.items()}
    scores = {name_of.get(model, model): one for model, one in found.scores.items()}
    risks[FEW_BOOSTING] = boosting_with_few_labels(store)
    scores[FEW_BOOSTING] = with_intervals(found.label_B, risks[FEW_BOOSTING], config.bootstrap)
    members = {name: 1 if quick else config.n_seeds for name, config in VARIANTS.items()}
    rows: list[tuple[object, ...]] = [
        (
            name,
            members.get(name, ""),
            validation_auroc(folder_of.get(name)),
            one["auroc"],
            one["auprc_average_precision"],
        )
        for name, one in scores.items()
    ]
    compared: list[tuple[object, ...]] = []
    for first, second in PAIRS:
        pair = found.label_B, risks[first], risks[second]
        compared.append((first, second, difference(*pair, auroc), difference(*pair, average_precision)))
    note = (
        f"{found.stays} test stays, {found.positives} positive, 95 % bootstrap intervals. The logits of members are averaged. Epochs, "
        "members and settings were chosen on the validation stays."
    )
    return [
        Table("Mortality, side by side", ("model", "members", "validation AUROC", "AUROC", "AUPRC"), rows, note),
        Table(
            "Differences on the same stays",
            ("model", "less", "AUROC", "AUPRC"),
            compared,
            "95 % intervals of the paired bootstrap.",
        ),
    ]


def with_table(config: FinetuneConfig) -> FinetuneConfig:
    """Later deaths are learned along where a store has a table of them; the demo has none."""
    return config if (open_store(config.store).path / FILE).is_file() else replace(config, auxiliary=None)


def boosting_with_few_labels(store: str) -> Floats:
    """Risk of the test stays by boosting on hand-made features of the very stays that `FEW_LABELS` draws; all validation stays choose."""
    opened = open_store(store)
    train = labelled_stays(opened.vocabulary, opened, "train").some(SHARE, FEW_LABELS.seed)
    few = Stays(features_of(train.packed, opened.vocabulary), train.label_B.double().numpy())
    return baseline_risks(few, hand_made(opened, "valid"), hand_made(opened, "test"), (BOOSTING,))[BOOSTING]


def validation_auroc(folder: Path | None) -> str:
    """Of a finetuned model; nothing is known of a baseline's."""
    if folder is None:
        return ""
    origin = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))["origin"]
    return f"{origin[names.FINETUNE_AUC]:.3f}"
