"""Mistakes are one readable line and exit code 2, and nothing is started."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import pytest

from seqsetvae.app.main import main
from seqsetvae.config import PretrainConfig, SpaceConfig, TuneConfig
from seqsetvae.errors import InputError
from seqsetvae.tuning.job import Job
from seqsetvae.tuning.lead import tune
from seqsetvae.tuning.storage import close_storage, open_storage, resolve_storage
from seqsetvae.tuning.study import find_study, open_study, sign_of_life
from tests.tuning.conftest import NARROW


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--n_trials 0", "--tune.n_trials is 0, but must be at least 1"),
        ("--n_workers 0", "--tune.n_workers is 0"),
        (
            "--max_beta_range [50,0.01]",
            "--space.max_beta_range is (50.0, 0.01), but must be a lower and an upper bound",
        ),
        ("--warmup_range [0,2]", "--space.warmup_range"),
        ("--store no/such/store", "no/such/store"),
        ("--storage postgresql://me:secret@127.0.0.1:9/x", "postgresql://me:***@127.0.0.1:9/x cannot be used"),
        ("--storage mysql://127.0.0.1/x", "must be sqlite:///FILE, journal:///FILE or postgresql://"),
        ("--storage sqlite:///no/such/folder/tune.db", "there is no folder"),
        ("--storage sqlite:///text.db", "text.db cannot be used"),
        ("--join true", "--tune.join is True, but must be given together with --tune.study"),
        ("--join true --study none", "there is no study 'none'"),
        ("--beta 1", "--objective.beta 1 fixes what is to be searched"),
        ("--tracking_uri http://127.0.0.1:9", "http://127.0.0.1:9"),
    ],
)
def test_mistakes_are_explained(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.db").write_text("not a database")
    with pytest.raises(SystemExit) as ended:
        main(["tune", *arguments.split()])
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert message in err
    assert "Traceback" not in err
    assert "secret" not in err
    assert not (tmp_path / "outputs").exists()


@pytest.fixture
def job(tiny, tmp_path) -> Job:
    storage = f"sqlite:///{tmp_path / 'tune.db'}"
    return Job(tiny, NARROW, TuneConfig(study="s", storage=storage, n_trials=2), storage, "s", "parent", 60)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"space": SpaceConfig(max_beta_range=(0.01, 1.0))}, "space/max_beta_range was (0.01, 0.1), is (0.01, 1.0)"),
        ({"total_steps": 80}, "steps was 60, is 80"),
        ({"tune": TuneConfig(goal="pareto")}, "tune/goal was constrained, is pareto"),
    ],
)
def test_a_study_with_another_search_space_is_not_continued(job, change, named):
    opened = open_storage(job.storage, 30)
    open_study(job, opened)
    assert find_study(job, opened) is not None
    with pytest.raises(InputError, match="exists with another search space or other settings") as refused:
        find_study(replace(job, **change), opened)
    assert named in str(refused.value)
    close_storage(opened)


def test_a_study_has_one_leader(job, tiny):
    opened = open_storage(job.storage, 30)
    study = open_study(job, opened)
    study.set_user_attr("leader", study.user_attrs["leader"] | {"time": 0.0})  # this very process, alive
    with pytest.raises(InputError, match=r"is led by process .* Add workers to it with --tune.join true"):
        tune(tiny, NARROW, replace(job.tune, study="s"))
    sign_of_life(study, ended=True)
    close_storage(opened)


def test_more_trials_can_be_added_to_a_study(job):
    opened = open_storage(job.storage, 30)
    open_study(job, opened)
    study = open_study(replace(job, tune=replace(job.tune, n_trials=5)), opened)
    assert len(study.trials) == 5
    assert len(open_study(job, opened).trials) == 5
    close_storage(opened)


def test_every_setting_is_explained_and_can_be_written_without_its_group(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["tune", "--help", "all"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for group in (SpaceConfig(), TuneConfig()):
        for field in fields(group):
            name = f"--{'space' if isinstance(group, SpaceConfig) else 'tune'}.{field.name} "
            after = text.rsplit(name, 1)[1].split("--", 1)[0]
            assert len(after.split()) > 6, f"{name} has no docstring"
    groups = [*(getattr(PretrainConfig(), one.name) for one in fields(PretrainConfig)), SpaceConfig(), TuneConfig()]
    count = Counter(field.name for group in groups for field in fields(group))
    assert [name for name, times in count.items() if times > 1] == []


def test_an_address_is_found(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEQSETVAE_STORAGE", raising=False)
    assert resolve_storage(None) == f"sqlite:///{tmp_path}/tune.db"
    assert resolve_storage("journal:///a/b.log") == f"journal:///{tmp_path}/a/b.log"
    assert resolve_storage("sqlite:////a/b.db") == "sqlite:////a/b.db"
    monkeypatch.setenv("SEQSETVAE_STORAGE", "postgresql://host/x")
    assert resolve_storage(None) == "postgresql://host/x"
