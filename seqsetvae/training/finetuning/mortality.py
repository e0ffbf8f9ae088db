"""`RiskModel`: backbones and heads together, as they are registered, served and evaluated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqsetvae.data.by_length import by_length
from seqsetvae.data.events_table import AnyTable, as_pandas, like, read_events
from seqsetvae.data.packed import Packed
from seqsetvae.errors import InputError
from seqsetvae.extras import require
from seqsetvae.model.classifier import RiskHead, RiskNet
from seqsetvae.tasks.binary import Binary
from seqsetvae.tasks.kind import Kind
from seqsetvae.tasks.kinds import restore
from seqsetvae.training.checkpoints import Recipe
from seqsetvae.training.finetuning.features import mean_logits
from seqsetvae.training.pretrained.exported import OUT_OF_RANGE, Pretrained, read_folder, rebuild, write_folder


@dataclass(frozen=True)
class RiskModel:
    """Predicts the outcome that it was finetuned on: a risk, or what else its kind of task says."""

    pretrained: Pretrained
    """The first member's backbone, with the vocabulary that all of them share."""
    net: RiskNet
    hidden: int
    """Width between the layers of a head."""
    kind: Kind = field(default_factory=Binary)
    """Of the task."""

    def __repr__(self) -> str:
        return f"<RiskModel on {self.pretrained}>"

    def predict(self, packed: Packed) -> NDArray[np.float64]:
        """The answer for every subject: its risk, (B,), or (B, columns) where an answer is several numbers."""
        logit_B = mean_logits(self.net, packed, self.pretrained.vocabulary)
        return self.kind.answer(self.net.recalibrated(logit_B)).double().numpy()

    @torch.inference_mode()
    def drawn(self, packed: Packed, draws: int, seed: int = 0) -> NDArray[np.float64]:
        """Answers that might as well have been given: (members x draws, B, columns).

        Members differ by what training has left to chance, draws by what the posterior leaves open of each set; both are answers by the
        same recalibration as their mean. The noise of what was never seen is not in them.
        """
        order_B, batches = by_length(packed, self.pretrained.vocabulary)
        generator, found = torch.Generator().manual_seed(seed), []
        for batch in batches:
            logits = torch.cat([self.net.members(batch, generator) for _ in range(draws)])
            answers = torch.stack([self.kind.answer(self.net.recalibrated(one)) for one in logits])
            found.append(answers.view(len(answers), batch.n_subjects, -1))
        return torch.cat(found, dim=1)[:, torch.from_numpy(np.argsort(order_B))].double().numpy()

    def risk(self, events: pd.DataFrame) -> pd.DataFrame:
        """Answer for each subject of a table with the columns subject, minute, variable, value: subject, risk, error, warnings.

        Of other kinds of tasks the columns of :attr:`Kind.columns` stand in place of the risk. A subject with a row that cannot be used
        gets no risk (NaN) but an error that names the row; the others are not affected.

        Raises:
            InputError: a column is missing.
        """
        table = read_events(events, self.pretrained.vocabulary)
        columns = self.kind.columns
        answer_of: dict[str, list[float]] = {}
        if table.packed is not None:
            answers = self.predict(table.packed).reshape(-1, len(columns)).tolist()
            answer_of = dict(zip(map(str, table.packed.subject_id), answers, strict=True))
        broken = {name for name, answer in answer_of.items() if not np.isfinite(answer).all()}
        nothing = [math.nan] * len(columns)
        said = [nothing if name in broken else answer_of.get(name, nothing) for name in table.subjects]
        errors = table.problems | dict.fromkeys(broken, OUT_OF_RANGE)
        return pd.DataFrame(
            {
                "subject": table.subjects,
                **{name: [answer[number] for answer in said] for number, name in enumerate(columns)},
                "error": [errors.get(name, "") for name in table.subjects],
                "warnings": table.warnings(self.pretrained.vocabulary),
            }
        )

    def explain(self, events: AnyTable) -> AnyTable:
        """What each event of a table contributes to the answer for its subject: subject, minute, variable, value, by_value, by_deletion.

        Contributions are to the logit of a risk; see :mod:`seqsetvae.training.finetuning.explaining`. Needs `seqsetvae[explain]`.

        Raises:
            InputError: a column is missing or a row cannot be used, captum is not installed, or an answer is several numbers.
        """
        require("explain", "explain")
        from seqsetvae.training.finetuning.explaining import explanation_table

        packed = read_events(as_pandas(events), self.pretrained.vocabulary).require_all().packed
        assert packed is not None
        return like(events, explanation_table(self.net, self.pretrained.vocabulary, packed))


def export_risk_model(model: RiskModel, folder: Path, origin: Mapping[str, Any]) -> None:
    """Write a model; `origin` says where it comes from, for people."""
    head = {"input": model.net.chosen, "hidden": model.hidden, "kind": model.kind.state()}
    description = {"recipe": asdict(model.pretrained.recipe), "head": head, "origin": dict(origin)}
    write_folder(folder, "risk", model.net.state_dict(), description)


def read_risk_model(folder: Path) -> RiskModel:
    """Load what :func:`export_risk_model` wrote.

    Raises:
        InputError: the folder is none of those, or a file was changed, or holds anything but tensors.
    """
    weights, description = read_folder(folder, "risk")
    if "slope" not in weights:
        raise InputError(f"{folder} was finetuned by an earlier version of seqsetvae. Finetune again.")
    recipe, head = Recipe.parse(description.get("recipe"), str(folder)), description["head"]
    backbones = [rebuild(part, recipe, str(folder)) for part in _members(weights, "backbones")]
    heads, kind = [], restore(head.get("kind"))
    for part in _members(weights, "heads"):
        heads.append(RiskHead(len(part["mean_F"]), head["hidden"], dropout=0.0, outputs=kind.outputs))
        heads[-1].load_state_dict(part)
    net = RiskNet([one.vae for one in backbones], heads, head["input"])
    net.slope, net.offset = weights["slope"], weights["offset"]
    return RiskModel(backbones[0], net.eval(), head["hidden"], kind)


def _members(weights: Mapping[str, Tensor], part: str) -> list[dict[str, Tensor]]:
    """Weights of each member's backbone or head, by their own names."""
    found: dict[int, dict[str, Tensor]] = {}
    for key, tensor in weights.items():
        place, _, rest = key.partition(".")
        if place == part:
            number, _, name = rest.partition(".")
            found.setdefault(int(number), {})[name] = tensor
    return [found[number] for number in sorted(found)]
