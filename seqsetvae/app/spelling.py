"""Flags as people write them, and what to say of those that are not known.

They come without their group, with hyphens, in the words of the source guides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from seqsetvae.app.help_text import did_you_mean

OTHER_WORDS = {
    "checkpoint": ("visualize.model",),
    "data_dir": ("data.store", "finetune.store", "visualize.store", "source.input"),
    "learning_rate": ("optimizer.lr", "finetune.head_lr"),
    "pretrained_ckpt": ("finetune.model",),
}
"""Flags of the source guides whose settings have another name here: docs/from-the-guides.md says why."""

ELSEWHERE = {
    "mode": "what is done is the first word: `seqsetvae pretrain`, `seqsetvae finetune`.",
    "pretrained_ckpt": "a pretrained model is what `seqsetvae finetune --model` takes.",
    "log_dir": "runs are read from the MLflow store: name one with --run, and the store with --tracking_uri.",
    "output_dir": "results go into the run's artifacts; files on disk below --tracking.work_dir (analyze, visualize: --save_dir).",
    "params_map_path": "variables are named in the data: `seqsetvae prepare patient_ehr` finds the guides' files beside it.",
    "label_path": "labels are read once, by `seqsetvae prepare patient_ehr` (oc.csv beside the data).",
    "devices": "this verb works on one device; `seqsetvae pretrain --devices` trains on several.",
    "compile_model": "only `seqsetvae pretrain` compiles its model.",
    "num_workers": "only `seqsetvae pretrain` has loader processes.",
    "precision": "this verb computes in float32; `seqsetvae pretrain --precision` chooses.",
}
"""Flags of the source guides that a verb does not take, and where what they mean is said here."""


def spell_out(arguments: list[str], flags: Mapping[str, bool]) -> Iterator[str]:
    """Give each flag its group, and each bare yes-or-no flag its `true`; a hyphen is as good as an underscore.

    >>> flags = {"data.batch_size": False, "data.pin_memory": True, "model.latent_dim": False}
    >>> " ".join(spell_out("--batch-size 4 --pin_memory --model.latent_dim=8".split(), flags))
    '--data.batch_size 4 --data.pin_memory true --model.latent_dim=8'
    """
    leaves: dict[str, list[str]] = {}
    for flag in flags:
        leaves.setdefault(flag.rpartition(".")[2], []).append(flag)
    for word, settings in OTHER_WORDS.items():
        leaves.setdefault(word, [flag for flag in settings if flag in flags])
    for position, argument in enumerate(arguments):
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--"):
            yield argument
            continue
        name = name.replace("-", "_")
        full = leaves[name][0] if len(leaves.get(name, ())) == 1 else name
        yield f"--{full}{equals}{value}"
        bare = not equals and (position + 1 == len(arguments) or arguments[position + 1].startswith("--"))
        if bare and flags.get(full):
            yield "true"


def unknown_flags(arguments: list[str], known: Collection[str]) -> Iterator[str]:
    """A sentence for every flag that a verb does not have.

    >>> next(unknown_flags(["--max_epoch", "3"], {"trainer.max_epochs"}))
    'There is no --max_epoch. Did you mean --max_epochs?'
    """
    leaves = {flag.rpartition(".")[2] for flag in known}
    for argument in arguments:
        name = argument.removeprefix("--").partition("=")[0].replace("-", "_")
        if not argument.startswith("--") or name in known or name in leaves:
            continue
        if name in ELSEWHERE:
            yield f"There is no --{name} here: {ELSEWHERE[name]}"
        else:
            alike = known if "." in name else leaves
            yield f"There is no --{name}{did_you_mean(f'--{name}', [f'--{one}' for one in alike])}"
