"""A model as a folder that cannot carry code: `weights.safetensors`; `model.json` with settings, vocabulary and the weights' hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from seqsetvae.atomic import atomic_write
from seqsetvae.config import ModelConfig
from seqsetvae.config.settings_io import check_version
from seqsetvae.data.events_table import AnyTable, EventsTable, as_pandas, like, read_events
from seqsetvae.data.statistics import Statistics
from seqsetvae.data.times import MICROSECONDS
from seqsetvae.data.vocabulary import Vocabulary
from seqsetvae.errors import InputError
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.training.checkpoints import Recipe, load_weights
from seqsetvae.training.pretrained.forecasting import forecast_table
from seqsetvae.training.pretrained.imputing import Widening, impute_table
from seqsetvae.training.pretrained.sampling import sample_table
from seqsetvae.training.weights import require_finite

FORMAT_VERSION = 1
WEIGHTS, DESCRIPTION = "weights.safetensors", "model.json"
OUT_OF_RANGE = "the model gives NaN: a value or a time is too far from all that it was trained on"
"""What is answered for a subject without a finite result."""
FROZEN_EMBEDDING = "set_encoder.embed.frozen_VE"


@dataclass(frozen=True)
class Encoded:
    """What a model says about a table of events: one row per set, in order of subject and minute."""

    subject: list[str]
    minute: list[float]
    mu_SZ: Tensor
    logvar_SZ: Tensor
    history_SD: Tensor
    """h_t computed from the posterior means."""

    def to_pandas(self) -> pd.DataFrame:
        """A row per set: subject, minute, and as lists mean and variance of the posterior and state of the history."""
        return pd.DataFrame(
            {
                "subject": self.subject,
                "minute": self.minute,
                "mean": self.mu_SZ.tolist(),
                "variance": self.logvar_SZ.exp().tolist(),
                "state": self.history_SD.tolist(),
            }
        )

    def __repr__(self) -> str:
        return f"<Encoded {len(set(self.subject))} subjects, {len(self.subject)} sets: mu_SZ {tuple(self.mu_SZ.shape)}>"


@dataclass(frozen=True)
class Pretrained:
    """A pretrained model and what is needed to feed it, whatever it was loaded from."""

    vae: SeqSetVAE
    """In evaluation mode, on the CPU."""
    vocabulary: Vocabulary
    """Names and scaling that the model was trained with."""
    config: ModelConfig
    recipe: Recipe

    def __repr__(self) -> str:
        return f"<Pretrained of run {self.recipe.run_id}: {len(self.vocabulary)} variables, {self.config.latent_dim} latent dimensions>"

    @torch.inference_mode()
    def encode(self, events: pd.DataFrame) -> Encoded:
        """Posteriors and history of a table with the columns subject, minute, variable, value (raw, in the unit of the training data).

        Raises:
            InputError: a column is missing, or a row cannot be used; the message names the rows.
        """
        return self._encode(read_events(events, self.vocabulary).require_all())

    @torch.inference_mode()
    def last_states(self, events: pd.DataFrame) -> pd.DataFrame:
        """The history after the last set of each subject of such a table: the columns subject, sets (how many), state, error, warnings.

        A subject with a row that cannot be used has no set and no state, but an error that names the row; the others are not affected.

        Raises:
            InputError: a column is missing.
        """
        table = read_events(events, self.vocabulary)
        states: dict[str, list[list[float]]] = {}
        if table.packed is not None:
            encoded = self._encode(table)
            for subject, state in zip(encoded.subject, encoded.history_SD.tolist(), strict=True):
                states.setdefault(subject, []).append(state)
        broken = [name for name, found in states.items() if not np.isfinite(found[-1]).all()]
        states = {name: found for name, found in states.items() if name not in broken}
        problems = table.problems | dict.fromkeys(broken, OUT_OF_RANGE)
        return pd.DataFrame(
            {
                "subject": table.subjects,
                "sets": [len(states.get(name, ())) for name in table.subjects],
                "state": [states[name][-1] if name in states else [] for name in table.subjects],
                "error": [problems.get(name, "") for name in table.subjects],
                "warnings": table.warnings(self.vocabulary),
            }
        )

    def forecast(self, events: AnyTable, horizon: float, variables: Sequence[str] | None = None) -> AnyTable:
        """What to expect of the hours behind the last set of each subject: a row for each subject and variable.

        `chance` that the variable is measured by then, where the stay goes on so long; `value`, the median of what its values will be on
        average, with the bands `low_50` to `high_50` and `low_90` to `high_90` that hold it in 50 and 90 % of cases. All in the units of
        the events.

        Args:
            events: a table, of pandas or Arrow, with the columns subject, minute, variable, value (raw, in the unit of the training data).
            horizon: hours, one of those that the model was pretrained to foresee (--model.foresee_hours).
            variables: that are asked for; None: all.

        Returns:
            A table of the same kind.

        Raises:
            InputError: a column is missing or a row cannot be used, the model has no forecast, or none over so many hours, or does not
                know one of the variables.
        """
        packed = read_events(as_pandas(events), self.vocabulary).require_all().packed
        assert packed is not None
        return like(events, forecast_table(self.vae, self.vocabulary, packed, horizon, variables))

    def impute(self, events: AnyTable, at: AnyTable, widening: Widening | None = None) -> AnyTable:
        """What the model says of values that were not measured, or are left out, given all else that is known of the stay by then.

        A model that was pretrained with --model.fill_in has a head for it; of any other the decoder speaks.

        A row for each question: subject, minute, variable, `value` with the bands `low_50` to `high_50` and `low_90` to `high_90`, in the
        units of the events; NaN where nothing else is known of the stay by then. A value that was recorded at that very time is left
        out of what the model sees.

        Args:
            events: a table, of pandas or Arrow, with the columns subject, minute, variable, value (raw, in the unit of the training data).
            at: a table with the columns subject and minute, of the same clock, and variable; without that, all variables that were not
                measured then. What is asked of one stay and minute is hidden together.
            widening: that makes the bands hold what they promise, as `seqsetvae impute` finds it on validation stays. None: the model's
                own bands, which know nothing of its mistakes.

        Raises:
            InputError: a column is missing or a row cannot be used, or the model does not know a variable.
        """
        packed = read_events(as_pandas(events), self.vocabulary).require_all().packed
        assert packed is not None
        return like(events, impute_table(self.vae, self.vocabulary, packed, as_pandas(at), widening))

    def sample(
        self,
        n: int,
        events: pd.DataFrame | None = None,
        minutes: Sequence[float] = (60.0,),
        size: int | None = None,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Sets that might follow what is known of each subject, made up by the model: subject, draw, minute, variable, value.

        A set's latents come from the prior, N(0, I) or a learned one, its variables and values from the decoder given these and the
        history.

        Args:
            n: draws for each subject.
            events: what is known, as for :meth:`encode`; None: nothing, of nobody.
            minutes: of the new sets, behind the last one that is known.
            size: events of a new set; None: as many as one of the subject's own sets, drawn at random, has.
            seed: the same seed, the same sets.

        Raises:
            InputError: a row cannot be used, or the draws, minutes or size are none.
        """
        packed = None if events is None else read_events(events, self.vocabulary).require_all().packed
        return sample_table(self.vae, self.vocabulary, n, packed, minutes, size, seed)

    def _encode(self, table: EventsTable) -> Encoded:
        """The usable subjects of a table, of which there is at least one."""
        assert table.packed is not None
        batch = table.batch(self.vocabulary)
        posterior = self.vae.encode(batch)
        history_SD = self.vae.state(posterior.mu_SZ, batch)
        subject = [str(table.packed.subject_id[row]) for row in batch.subject_S.tolist()]
        minute_S = batch.minute_S.numpy() + table.packed.start_B[batch.subject_S.numpy()] / MICROSECONDS
        return Encoded(subject, minute_S.tolist(), posterior.mu_SZ, posterior.logvar_SZ, history_SD)


def vocabulary_of(recipe: Recipe) -> Vocabulary:
    """The vocabulary a model was trained with; of its statistics only what scales the values and the percentiles are kept."""
    statistics = Statistics.empty(len(recipe.variables))
    if recipe.low:
        low_V, high_V = (np.array(x, dtype=np.float64) for x in (recipe.low, recipe.high))  # None becomes NaN
        statistics = replace(statistics, low_V=low_V, high_V=high_V)
    return Vocabulary(
        tuple(recipe.variables),
        statistics,
        np.array(recipe.center),
        np.array(recipe.spread),
        bare_V=np.array(recipe.bare) if recipe.bare else None,
        set_window=recipe.set_window,
    )


def rebuild(weights: Mapping[str, Tensor], recipe: Recipe, where: str = "the model") -> Pretrained:
    """The model of some weights. Raises :class:`InputError` if they are not those of its settings."""
    config = recipe.model(where)
    vae = SeqSetVAE(config, len(recipe.variables), weights.get(FROZEN_EMBEDDING))
    load_weights(vae, weights, where)
    return Pretrained(vae.eval(), vocabulary_of(recipe), config, recipe)


def export(model: Pretrained, folder: Path) -> None:
    """Write a pretrained model; :func:`read_pretrained` takes it back."""
    write_folder(folder, "pretrained", model.vae.state_dict(), {"recipe": asdict(model.recipe)})


def read_pretrained(folder: Path) -> Pretrained:
    """Load what :func:`export` wrote.

    Raises:
        InputError: the folder is none of those, or a file was changed, or holds anything but tensors.
    """
    weights, description = read_folder(folder, "pretrained")
    return rebuild(weights, Recipe.parse(description.get("recipe"), str(folder)), str(folder))


def read_vocabulary(folder: Path) -> Vocabulary:
    """That of an exported model, pretrained or finetuned. Raises :class:`InputError` as :func:`read_pretrained`."""
    return vocabulary_of(Recipe.parse(read_folder(folder, None)[1].get("recipe"), str(folder)))


def write_folder(folder: Path, kind: str, weights: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write weights and description of a model of some kind."""
    folder.mkdir(parents=True, exist_ok=True)
    content = save({key: tensor.detach().cpu().contiguous().clone() for key, tensor in weights.items()})
    with atomic_write(folder / WEIGHTS) as file:
        file.write(content)
    head = {"format_version": FORMAT_VERSION, "kind": kind, "weights_sha256": hashlib.sha256(content).hexdigest()}
    with atomic_write(folder / DESCRIPTION) as file:
        file.write(json.dumps(head | dict(description), indent=1).encode())


def read_folder(folder: Path, kind: str | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights, all finite, and description of a model of some kind, of any where it is None. Raises :class:`InputError`."""
    file = folder / DESCRIPTION
    try:
        description: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        content = (folder / WEIGHTS).read_bytes()
        version, found, expected = (description[key] for key in ("format_version", "kind", "weights_sha256"))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{folder} is not an exported model of seqsetvae: {error}") from error
    check_version(version, FORMAT_VERSION, str(file))
    if kind not in (None, found):
        raise InputError(f"{folder} holds a {found} model, but a {kind} one is needed here.")
    if not content:
        raise InputError(
            f"{folder / WEIGHTS} is empty: writing or copying it was cut off. Take it from the registry again."
        )
    if hashlib.sha256(content).hexdigest() != expected:
        raise InputError(
            f"{folder / WEIGHTS} is not the file that was registered: its hash differs. It was damaged or changed and is not loaded."
        )
    try:
        weights = load(content)
    except SafetensorError as error:
        raise InputError(
            f"{folder / WEIGHTS} is not a safetensors file ({error}). Pickled weights are never loaded."
        ) from error
    require_finite(weights, folder / WEIGHTS)
    return weights, description
