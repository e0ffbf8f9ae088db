"""What a backbone is worth for outcomes that nothing was tuned to: length of stay, stays above 7 days, time to death in hospital.

Of each task a head on the frozen pooled state and one on summaries of each variable, beside the baselines. The validation stays choose the
epoch, the test stays nothing. The tables come from the store (`tasks.csv`, as `seqsetvae prepare physionet2012` writes it).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.backbones import READING, TRACKING, finetuned, pretrained
from seqsetvae.certify.table import Table
from seqsetvae.config import EvaluateConfig, FinetuneConfig
from seqsetvae.data.sources.physionet2012_tasks import FILE
from seqsetvae.errors import InputError
from seqsetvae.training.finetuning.mortality import read_risk_model

HEAD = FinetuneConfig(loss="plain")
TASKS = {
    "length of stay": replace(HEAD, task="length_of_stay", kind="regression", outcome_scale="log"),
    "stay above 7 days": replace(HEAD, task="long_stay"),
    "time to death in hospital": replace(HEAD, task="hospital_death"),
}
INPUTS = {"frozen, pooled state": "history", "summaries alone": "summaries"}


def measure(quick: bool = False, store: str = "demo") -> list[Table]:
    """Finetune heads for each task on one pretrained backbone, and evaluate them beside the baselines: a table for each task."""
    labels = Path(store) / FILE
    if not labels.is_file():
        raise InputError(f"{labels}: there is no such table of tasks. `seqsetvae prepare physionet2012` writes it.")
    backbone = str(pretrained(READING, store, quick))
    return [
        table(name, replace(config, model=backbone, store=store, labels=str(labels)), quick)
        for name, config in TASKS.items()
    ]


def table(name: str, config: FinetuneConfig, quick: bool) -> Table:
    """The scores of one task."""
    from seqsetvae.evaluation.evaluate import evaluate

    folder_of = {
        called: finetuned(f"{config.task}, {called}", replace(config, head_input=looks_at), quick)
        for called, looks_at in INPUTS.items()
    }
    asked = EvaluateConfig(
        ",".join(map(str, folder_of.values())), config.store, config.labels, config.task, config.kind
    )
    found = evaluate(
        replace(asked, subgroups=False), replace(TRACKING, run_name=f"{name} on {Path(config.store).name}")
    )
    name_of = {str(folder): called for called, folder in folder_of.items()}
    headings = read_risk_model(next(iter(folder_of.values()))).kind.headings
    rows = [(name_of.get(model, model), *(scores[key] for key in headings)) for model, scores in found.scores.items()]
    note = f"{found.stays} test stays, 95 % bootstrap intervals."
    return Table(f"{name.capitalize()}, side by side", ("model", *headings.values()), rows, note)
