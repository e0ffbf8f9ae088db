"""Every item of the guides has a test that tries what it does: which one, tried.yaml says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

from seqsetvae.config import PretrainConfig
from seqsetvae.config.pretrain import TrainerConfig
from seqsetvae.tracking.write.run import Run
from seqsetvae.training.checkpoint_writing import AtomicCheckpointIO
from seqsetvae.training.loop import make_trainer
from seqsetvae.training.plan import make_plan
from tests.docs.test_commands import CASES, NIGHTLY
from tests.docs.test_from_the_guides import DOCUMENT, GUIDES, rows

ROOT = Path(__file__).parents[2]
TRIED: dict[str, list[str]] = yaml.safe_load(Path(__file__).with_name("tried.yaml").read_text())


def test_every_item_has_a_test_and_no_other_has():
    items = {item for guide in GUIDES.values() for group in guide.values() for item in group}
    tried = [item for group in TRIED.values() for item in group]
    assert sorted(items - {*tried}) == []
    assert sorted({*tried} - items) == []
    assert len(tried) == len({*tried}), "an item stands once"


@pytest.mark.parametrize("test", TRIED)
def test_the_test_is_there(test):
    path, _, name = test.partition("::")
    defined = {node.name for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.FunctionDef)}
    assert name in defined


def test_what_the_commands_of_the_pages_are_to_try_is_among_them():
    """A flag by itself, anything else by what it is called here."""
    lines = [line for line, _ in CASES + NIGHTLY]

    def words(item: str) -> set[str]:
        if item.startswith("--"):
            return {item}
        here = [span for left, right in rows(DOCUMENT) if item in left for span in right]
        flags = {span.replace(span[2 : span.find(".") + 1], "") for span in here if span.startswith("--")}
        return {span for span in here if span.startswith("seqsetvae ")} | flags

    by_command = TRIED["tests/docs/test_commands.py::test_a_command_does_what_its_page_says"]
    assert [item for item in by_command if not any(word in line for word in words(item) for line in lines)] == []


def test_what_the_guides_switch_off_is_off(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = make_plan(PretrainConfig(trainer=TrainerConfig(max_steps=3, accelerator="cpu")))
    run = Run.silent("sqlite:///unused.db", "0c" * 16, tmp_path)
    trainer = make_trainer(plan, run, [], AtomicCheckpointIO())
    assert not trainer._detect_anomaly
    assert not any(type(one).__name__ == "ModelSummary" for one in trainer.callbacks)  # type: ignore[attr-defined]
    assert not any(
        type(layer).__name__.startswith(("BatchNorm", "SyncBatchNorm")) for layer in plan.build_model().modules()
    )


def test_validation_is_as_often_and_as_long_as_the_guides_have_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tenth = TrainerConfig(max_epochs=1, accelerator="cpu", val_check_interval=0.1, limit_val_batches=0.1)
    plan = make_plan(PretrainConfig(trainer=tenth))
    run = Run.silent("sqlite:///unused.db", "0c" * 16, tmp_path)
    trainer = make_trainer(plan, run, [], AtomicCheckpointIO())
    assert (plan.batches_per_epoch, trainer.val_check_interval, trainer.limit_val_batches) == (40, 4, 0.1)


def test_the_license_is_the_guides():
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
