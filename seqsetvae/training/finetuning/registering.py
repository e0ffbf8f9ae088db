"""A finetuned model becomes the next version of `seqsetvae-mortality`."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

from seqsetvae import names
from seqsetvae.config import FinetuneConfig
from seqsetvae.data.store import Store
from seqsetvae.tracking.registry import PACKAGE, Candidate, Registered, champion, make_champion, register
from seqsetvae.training.finetuning.mortality import RiskModel, export_risk_model
from seqsetvae.training.pretrained.model_cards import CARDS, mortality_version
from seqsetvae.training.pretrained.registration import example_events


def register_risk_model(
    uri: str,
    run_id: str,
    model: RiskModel,
    metrics: Mapping[str, float],
    store: Store,
    pretrained: Registered | None,
    config: FinetuneConfig,
) -> Registered:
    """Make it the next version of `seqsetvae-mortality`; the champion moves to a higher monitored score on the same data."""
    origin = pretrained.uri if pretrained is not None else str(config.model)
    tags = {key: f"{value:.6g}" for key, value in metrics.items()} | {
        "data_hash": store.content_hash,
        "pretrained": origin,
        "pretrained_run": model.pretrained.recipe.run_id,
        "head_input": model.net.chosen,
    }
    example = example_events(model.pretrained)
    with tempfile.TemporaryDirectory() as folder:
        export_risk_model(model, Path(folder) / "model", tags)
        made = register(
            uri,
            Candidate(
                name=names.MODEL_MORTALITY,
                folder=Path(folder) / "model",
                code=PACKAGE / "serving" / "mortality.py",
                run_id=run_id,
                tags=tags,
                example=example,
                output={
                    "subject": "string",
                    "risk": "double",
                    "error": "string",
                    "warnings": "string",
                    "model": "string",
                },
                description=mortality_version(origin, tags),
                card=CARDS[names.MODEL_MORTALITY],
            ),
        )
    before = champion(uri, names.MODEL_MORTALITY)
    same_data = before is not None and before.tags.get("data_hash") == tags["data_hash"]
    score = metrics[config.monitor]
    held = float("nan") if before is None else float(before.tags.get(config.monitor, "nan"))
    if before is None or not math.isfinite(held) or (same_data and score > held):
        make_champion(uri, made)
        print(f"Registered {made.uri}; it is the champion.", flush=True)
    else:
        why = f"has {config.monitor} {before.tags.get(config.monitor)}" if same_data else "was finetuned on other data"
        print(f"Registered {made.uri}; the champion, version {before.version}, {why}.", flush=True)
    return made
