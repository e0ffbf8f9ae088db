"""The command line: the guides' spelling works, mistakes are one readable line and exit code 2, settings make the round trip."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import yaml

from seqsetvae.app import arguments
from seqsetvae.app.main import main
from seqsetvae.app.spelling import spell_out
from seqsetvae.app.verbs import VERBS
from seqsetvae.config import PretrainConfig
from seqsetvae.training.recording import as_yaml

GUIDES_QUICK_START = (
    "--batch_size 4 --num_workers 8 --pin_memory --gradient_accumulation_steps 2 --max_sequence_length 1000 "
    "--use_dynamic_padding --devices 2 --max_epochs 10 --precision 16-mixed --compile_model "
    "--resume_from_checkpoint last.ckpt --val_check_interval 0.1 --limit_val_batches 0.1"
)


def run(arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_flags_of_the_guides_are_understood_as_they_stand():
    config = arguments.pretrain_config("pretrain", "", GUIDES_QUICK_START.split())
    data, trainer = config.data, config.trainer
    assert (data.batch_size, data.num_workers, data.pin_memory, data.max_sequence_length) == (4, 8, True, 1000)
    assert (trainer.gradient_accumulation_steps, trainer.devices, trainer.precision) == (2, 2, "16-mixed")
    assert (trainer.compile_model, trainer.resume_from_checkpoint) == (True, "last.ckpt")
    assert (trainer.val_check_interval, trainer.limit_val_batches) == (0.1, 0.1)


def test_the_guides_words_for_settings_of_another_name_are_understood():
    config = arguments.pretrain_config("pretrain", "", ["--data_dir", "stores/mine", "--learning_rate", "3e-4"])
    assert (config.data.store, config.optimizer.lr) == ("stores/mine", 3e-4)
    assert list(spell_out(["--pretrained_ckpt", "a.ckpt"], {"finetune.model": False})) == [
        "--finetune.model",
        "a.ckpt",
    ]


def test_every_setting_can_be_written_without_its_group():
    names = Counter(
        field.name for group in fields(PretrainConfig) for field in fields(getattr(PretrainConfig(), group.name))
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_every_setting_is_explained():
    source = "".join(path.read_text() for path in (Path(arguments.__file__).parents[1] / "config").glob("*.py"))
    for group in fields(PretrainConfig):
        for field in fields(getattr(PretrainConfig(), group.name)):
            after = source.split(f"    {field.name}: ", 1)[1].split("\n", 2)[1]
            assert after.strip().startswith('"""'), f"{group.name}.{field.name} has no docstring"


def test_settings_make_the_round_trip_through_yaml(tmp_path):
    config = PretrainConfig(
        trainer=replace(PretrainConfig().trainer, max_epochs=3, val_check_interval=7, resume_from_checkpoint="x")
    )
    file = tmp_path / "config.yaml"
    file.write_text(as_yaml(config))
    again = arguments.pretrain_config("pretrain", "", ["--config", str(file)])
    expected = asdict(config) | {"trainer": asdict(config.trainer) | {"resume_from_checkpoint": None}}
    assert asdict(again) == expected
    assert yaml.safe_load(file.read_text())["trainer"]["val_check_interval"] == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("pretrain --batch_size 0", "--data.batch_size is 0, but must be at least 1"),
        ("pretrain --batch_size many", "--data.batch_size is many, but must be a whole number, or null."),
        ("pretrain --latent_dim many", "--model.latent_dim is many, but must be a whole number."),
        ("tune --lr_range [1e-4,fast]", "must be two numbers such as [1e-4, 1e-2]"),
        ("pretrain --max_beta null", "--objective.max_beta is null, but must be a number."),
        ("pretrain --no_such_flag 1", "There is no --no_such_flag."),
        ("pretrain --max_epoch 3", "There is no --max_epoch. Did you mean --max_epochs?"),
        ("pretrain --lattent-dim 3", "There is no --lattent_dim. Did you mean --latent_dim?"),
        ("pretrain --on_collapse rescu", "must be warn, stop or rescue. Did you mean rescue?"),
        ("pretrain --mode finetune", "There is no --mode here: what is done is the first word"),
        ("pretrain --pretrained_ckpt x.ckpt", "is what `seqsetvae finetune --model` takes"),
        ("monitor --log_dir logs", "There is no --log_dir here: runs are read from the MLflow store"),
        ("finetune --precision 16-mixed", "this verb computes in float32"),
        ("pretrain --beta 0.1 --warmup_beta --max_beta 0.1 --beta_warmup_steps 5000", "Leave out --objective.beta"),
        ("pretrain --beta 0.1 --warmup_beta", "--objective.warmup_beta true asks for a warm-up"),
        ("pretrain -max_epochs 3", "There is no -max_epochs. Did you mean --max_epochs?"),
        ("analyze latest", "'latest' belongs to no flag; is it for --run?"),
        ("--completion fish", "the shell is bash or zsh, not fish"),
        ("pretrain --help no_such_group", "There is no help on 'no_such_group'."),
        ("pretrian", "There is no verb 'pretrian'. Did you mean pretrain?"),
        ("pretrain --config missing.yaml", "missing.yaml"),
        ("pretrain --heads 7", "--model.heads is 7, but must be a divisor of --model.width (256)"),
        ("pretrain --store no/such/store", "no/such/store"),
        (
            "pretrain --val_check_interval 9999",
            "--trainer.val_check_interval is 9999 batches, but an epoch of demo has only 40",
        ),
        ("pretrain --variable_embedding cached", "has no embeddings"),
        ("pretrain --precision 16-mixed --accelerator cpu", "--trainer.precision 16-mixed needs a GPU"),
        ("pretrain --devices 99 --accelerator gpu", "--trainer.devices is 99, but this machine has"),
        ("pretrain --tracking_uri http://127.0.0.1:9", "http://127.0.0.1:9"),
        ("check --beta_warmup_steps 5000", "beta_warmup_steps is 5000, but the whole run has only 400"),
        ("prepare physionet2012 --output x", "--source.input must be given: "),
        ("register", "--register.run must be given: "),
        ("embed", "--embed.model must be given: models:/"),
        ("prepare no_such_source", "There is no source 'no_such_source'"),
        ("no_such_verb", "There is no verb 'no_such_verb'"),
        ("bench --only no_such_benchmark", "--only is 'no_such_benchmark'"),
    ],
)
def test_mistakes_are_explained(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(arguments, capsys)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    "arguments", ["--help", "prepare", "prepare synthetic --help", "check --help", "pretrain --help", "sync --help"]
)
def test_help_explains(arguments, capsys):
    code, out, _ = run(arguments, capsys)
    assert code == 0
    assert "usage: seqsetvae" in out


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_help_fits_a_screen_and_all_of_it_explains_every_setting(verb, capsys):
    _, short, _ = run(f"{verb} --help", capsys)
    assert len(short.splitlines()) < 60
    assert max(map(len, short.splitlines())) <= 130
    if verb == "prepare":
        return
    assert "[options]" in short
    _, whole, _ = run(f"{verb} --help all", capsys)
    for line in short.splitlines():
        if line.startswith("  --") and not line.startswith(("  --config", "  --print_config")):
            assert f".{line.split()[0].removeprefix('--')} " in whole


def test_a_hyphen_is_as_good_as_an_underscore():
    assert arguments.pretrain_config("pretrain", "", ["--batch-size", "4"]).data.batch_size == 4


def test_a_reader_that_has_seen_enough_gets_no_traceback():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "seqsetvae", "monitor", "--demo", "--once"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
