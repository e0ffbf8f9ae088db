"""Which settings of a run are told: among its params and in its name. All of them are in its `config.yaml`.

A page of MLflow shows a few params well and a hundred badly: so those that runs are compared by, and those that are not as they would have
been by themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from typing import Any

Groups = Mapping[str, Any]
"""Settings classes by the name of their group."""
PRETRAIN = (
    *("objective/max_beta", "objective/beta_schedule", "objective/beta_warmup_steps", "objective/free_bits"),
    *("model/latent_dim", "model/width", "optimizer/lr", "data/store", "data/batch_size"),
    *("trainer/max_epochs", "trainer/precision", "trainer/seed"),
)
FINETUNE = ("finetune/model", "finetune/store", "finetune/head_input", "finetune/unfreeze", "finetune/seed")
EVALUATE = ("evaluate/model", "evaluate/store", "evaluate/split")
TUNE = (
    *("tune/study", "tune/storage", "tune/n_trials", "tune/goal", "tune/pruner", "tune/sampler_seed"),
    *("space/max_beta_range", "space/free_bits_range", "space/warmup_range"),
    *("data/store", "trainer/max_epochs"),
)
SILENT = frozenset(
    {
        *("data/num_workers", "data/pin_memory", "data/persistent_workers"),
        *("monitor/log_dir", "monitor/notify", "monitor/verbose", "monitor/max_rescues", "monitor/plot_frequency"),
        *("trainer/progress_bar", "trainer/resume_from_checkpoint", "trainer/log_every_n_steps", "trainer/save_top_k"),
        *("trainer/checkpoint_every_n_steps", "trainer/checkpoint_every_minutes", "finetune/progress_bar"),
    }
)
"""Of no matter to what comes out, like all of `tracking`."""
FIRST_IN_A_NAME = (
    *("seed", "lr", "free_bits", "beta_warmup_steps", "max_epochs", "max_steps", "batch_size"),
    *("model", "label_share", "head_input", "unfreeze", "task"),
)
"""What people vary most: a list of runs shows the beginning of a name."""


def changed(groups: Groups, usual: Groups) -> dict[str, Any]:
    """Settings that are not as usual, by group and name, in the order of their classes.

    >>> from seqsetvae.config import OptimizerConfig, TrackingConfig
    >>> usual = {"optimizer": OptimizerConfig(), "tracking": TrackingConfig()}
    >>> changed({"optimizer": OptimizerConfig(lr=0.01), "tracking": TrackingConfig(run_name="a")}, usual)
    {'optimizer/lr': 0.01}
    """
    found = {}
    for group, settings in groups.items():
        for field in fields(settings):
            value, path = getattr(settings, field.name), f"{group}/{field.name}"
            if group != "tracking" and path not in SILENT and value != getattr(usual[group], field.name):
                found[path] = value
    return found


def told_params(groups: Groups, usual: Groups, compared: Collection[str]) -> dict[str, Any]:
    """The params of a run, by group and name.

    >>> from seqsetvae.config import EvaluateConfig
    >>> told_params({"evaluate": EvaluateConfig(draws=4)}, {"evaluate": EvaluateConfig()}, ["evaluate/split"])
    {'evaluate/split': 'test', 'evaluate/draws': 4}
    """
    always = {}
    for path in compared:
        group, _, name = path.partition("/")
        always[path] = getattr(groups[group], name)
    return always | changed(groups, usual)


def told_name(main: str, found: Mapping[str, Any], said: Collection[str] = ()) -> str:
    """The name of a run: what people vary most, its main settings, and what else is not as usual.

    Args:
        main: the main settings, in words.
        found: all that is not as usual (:func:`changed`).
        said: names of settings that `main` says already.

    >>> told_name("beta 0.1, demo", {"model/width": 64, "optimizer/lr": 0.01, "trainer/seed": 1, "data/store": "demo"}, ["store"])
    'seed 1, lr 0.01, beta 0.1, demo, width 64'
    """
    words = dict(_words(found, said))
    before = [words.pop(name) for name in FIRST_IN_A_NAME if name in words]
    return ", ".join([*before, main, *words.values()])


def _words(found: Mapping[str, Any], said: Collection[str]) -> Iterator[tuple[str, str]]:
    for path, value in found.items():
        name = path.rpartition("/")[2]
        if name not in said:
            shown = f"{value:g}" if isinstance(value, float) else str(value).removeprefix("models:/")
            yield name, f"{name} {shown}"
