"""Does the pretrained model earn its place? Finetuned in several ways, and the baselines, on the same stays, split and run.

The test stays choose nothing: epochs, members and heads are chosen on the validation stays, and the settings below were, too.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

from seqsetvae import names
from seqsetvae.certify.table import Table
from seqsetvae.config import (
    DataConfig,
    EvaluateConfig,
    FinetuneConfig,
    ModelConfig,
    PretrainConfig,
    TrackingConfig,
    TrainerConfig,
)
from seqsetvae.scores import auroc, average_precision, difference
from seqsetvae.training.pretrained.exported import DESCRIPTION

FOLDER = Path("mortality_comparison")
"""Where the models are kept: a comparison that was stopped goes on with what is missing."""
TRACKING = TrackingConfig(experiment="mortality comparison", log_system_metrics=False, register_model=False)
PRETRAINING = PretrainConfig(
    data=DataConfig(batch_size=16),
    model=ModelConfig(width=128, latent_dim=64, levels=1, heads=4, ff_dim=256, history_layers=2),
    trainer=TrainerConfig(max_epochs=8),
    tracking=TRACKING,
)
QUICK = ModelConfig(width=32, latent_dim=16, levels=1, heads=2, ff_dim=32, history_layers=1)
SEEDS = 3
FROZEN = FinetuneConfig(loss="plain", n_seeds=SEEDS)
UNFROZEN = replace(
    FROZEN,
    head_input="history+summaries",
    unfreeze="all",
    backbone_lr=3e-4,
    batch_size=32,
    dropout=0.4,
    max_epochs=8,
    patience=3,
)
FEW_LABELS = replace(UNFROZEN, label_share=0.1, max_epochs=15, patience=5)
VARIANTS = {
    "frozen, posterior": replace(FROZEN, head_input="posterior"),
    "frozen, history": replace(FROZEN, head_input="history"),
    "summaries alone": replace(FROZEN, head_input="summaries"),
    "frozen, history and summaries": replace(FROZEN, head_input="history+summaries"),
    "unfrozen": UNFROZEN,
    "from scratch": replace(UNFROZEN, from_scratch=True),
    "unfrozen, 10 % of labels": FEW_LABELS,
    "from scratch, 10 % of labels": replace(FEW_LABELS, from_scratch=True),
}
"""What is compared, in the order of the table. `unfrozen` is the one to use."""
PAIRS = (
    ("unfrozen", "gradient boosting"),
    ("unfrozen", "summaries alone"),
    ("unfrozen", "from scratch"),
    ("unfrozen, 10 % of labels", "from scratch, 10 % of labels"),
)


def measure(quick: bool = False, store: str = "demo") -> list[Table]:
    """Pretrain, finetune in every way, and evaluate all of it once on the test stays."""
    from seqsetvae.evaluation.evaluate import evaluate

    pretrained = pretrained_model(store, quick)
    folders = {name: finetuned_model(name, pretrained, store, quick) for name in VARIANTS}
    config = EvaluateConfig(",".join(map(str, folders.values())), store)
    found = evaluate(config, replace(TRACKING, run_name=f"comparison on {Path(store).name}"))
    model_of = {name: str(folders.get(name, name)) for name in (*VARIANTS, "logistic regression", "gradient boosting")}
    rows: list[tuple[object, ...]] = []
    for name, model in model_of.items():
        scores = found.scores[model]
        rows.append((name, validation_auroc(folders.get(name)), scores["auroc"], scores["auprc_average_precision"]))
    compared: list[tuple[object, ...]] = []
    for first, second in PAIRS:
        pair = found.label_B, found.risks[model_of[first]], found.risks[model_of[second]]
        compared.append((first, second, difference(*pair, auroc), difference(*pair, average_precision)))
    note = (
        f"{found.stays} test stays, {found.positives} positive, 95 % bootstrap intervals. {SEEDS} members each, whose logits are averaged. "
        "Epochs, members and settings were chosen on the validation stays."
    )
    return [
        Table("Mortality, side by side", ("model", "validation AUROC", "AUROC", "AUPRC"), rows, note),
        Table(
            "Differences on the same stays",
            ("model", "less", "AUROC", "AUPRC"),
            compared,
            "95 % intervals of the paired bootstrap.",
        ),
    ]


def pretrained_model(store: str, quick: bool) -> Path:
    """The checkpoint of the pretraining, made where it is missing."""
    from seqsetvae.training.fit import pretrain

    kept = FOLDER / "pretrained.json"
    if kept.is_file():
        return Path(json.loads(kept.read_text(encoding="utf-8"))["checkpoint"])
    config = replace(
        PRETRAINING,
        data=replace(PRETRAINING.data, store=store),
        trainer=replace(PRETRAINING.trainer, max_epochs=1) if quick else PRETRAINING.trainer,
        model=QUICK if quick else PRETRAINING.model,
    )
    checkpoint = pretrain(config).final_checkpoint
    FOLDER.mkdir(exist_ok=True)
    kept.write_text(json.dumps({"checkpoint": str(checkpoint)}), encoding="utf-8")
    return checkpoint


def finetuned_model(name: str, pretrained: Path, store: str, quick: bool) -> Path:
    """Folder of one finetuned model, made where it is missing."""
    from seqsetvae.training.finetuning.finetune import finetune
    from seqsetvae.training.finetuning.mortality import export_risk_model

    folder = FOLDER / name.replace(" %", "_percent").replace(", ", "_").replace(" ", "_")
    if not folder.is_dir():
        config = replace(VARIANTS[name], model=str(pretrained), store=store, progress_bar=False)
        config = replace(config, max_epochs=1, n_seeds=1) if quick else config
        print(f"\n{name}", flush=True)
        result = finetune(config, replace(TRACKING, run_name=name))
        with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:  # whole or not at all
            export_risk_model(result.model, Path(scratch) / "model", result.val_metrics)
            (Path(scratch) / "model").rename(folder)
    return folder


def validation_auroc(folder: Path | None) -> str:
    """Of a finetuned model; nothing is known of a baseline's."""
    if folder is None:
        return ""
    origin = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))["origin"]
    return f"{origin[names.FINETUNE_AUC]:.3f}"
