"""What a person reads first on the pages of the registered models in MLflow: Markdown, of which the UI keeps every line break."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from seqsetvae import names

PRETRAINED = f"models:/{names.MODEL_PRETRAINED}@{names.ALIAS_CHAMPION}"
MORTALITY = f"models:/{names.MODEL_MORTALITY}@{names.ALIAS_CHAMPION}"
CARDS = {
    names.MODEL_PRETRAINED: f"""
**SeqSetVAE, pretrained**: from a table of medical events (subject, minute, variable, value) to a posterior per set of events and a state \
of the patient.

```python
import seqsetvae
model = seqsetvae.load("{PRETRAINED}")
encoded = model.encode(events)  # mu_SZ, logvar_SZ, history_SD: a row per set
```

A run that ends healthy becomes a version. `champion` is the one with the lowest validation NLL (tag `val_recon`, nats per set, on the \
same data) whose posterior did not collapse (tag `collapse` green or yellow, enough `active_units_ratio`). A version with the tag \
`forced` was registered in spite of a collapse: build nothing on it.

Next: `seqsetvae finetune --model {PRETRAINED}`
""".strip(),
    names.MODEL_MORTALITY: f"""
**Risk of death** from a table of medical events (subject, minute, variable, value): one row per subject with risk, error and model. \
A research model, made for no clinical decision.

```bash
mlflow models serve   -m {MORTALITY} --env-manager local -p 5001
mlflow models predict -m {MORTALITY} --env-manager local -i events.csv -t csv
```

`champion` is the version with the highest validation score on the same data. Tags that begin with `val_` are of the patients that chose \
the epoch; those that begin with `test_` come from `seqsetvae evaluate`, with 95 % intervals. `pretrained` is the model it stands on.
""".strip(),
}
"""Description of a registered model, by its name."""


def pretrained_version(run_name: str, tags: Mapping[str, str]) -> str:
    """Description of a version, from the tags it is registered with; what decides comes first, since lists cut it off.

    >>> tags = {"val_recon": "20.5154", "collapse": "green", "checkpoint": "best.ckpt", "active_units": "26"}
    >>> pretrained_version("beta 0.1", tags).splitlines()[0]
    'NLL 20.5154 nats per set on the validation patients; collapse: green; 26 active units.'
    """
    nll = f"NLL {tags['val_recon']} nats per set on the validation patients; " if "val_recon" in tags else ""
    active = f"; {tags['active_units']} active units" if "active_units" in tags else ""
    warning = [f"⚠️ Registered by force: {tags['forced']}."] if "forced" in tags else []
    return "\n\n".join(
        [
            *warning,
            f"{nll}collapse: {tags['collapse']}{active}.",
            f"Checkpoint `{tags['checkpoint']}` of run *{run_name}*.",
        ]
    )


def finetuned_version(origin: str, tags: Mapping[str, str], shown: Sequence[tuple[str, str]]) -> str:
    """As :func:`pretrained_version`, of a finetuned model; `shown` names the metrics that are said, in words.

    >>> tags = {"val_auc": "0.76", "val_auprc": "0.3", "head_input": "history"}
    >>> finetuned_version("models:/seqsetvae/1", tags, [("val_auc", "AUROC"), ("val_auprc", "AUPRC")]).splitlines()[0]
    'AUROC 0.76, AUPRC 0.3 on the validation patients, who chose the head.'
    """
    scores = ", ".join(f"{words} {tags[key]}" for key, words in shown)
    return (
        f"{scores} on the validation patients, who chose the head.\n\n"
        f"Finetuned from {origin}; the head looks at: {tags['head_input']}."
    )
