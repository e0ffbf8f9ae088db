"""Every command of README and docs is run, on data and a model small enough, and asked for what it promises.

Folders and ids that a page leaves open are filled in; what would take long is made small by further flags, never by other ones.
`mlflow run . -e VERB` is run as the verb that it starts: `mlflow run` itself is tested in tests/test_mlflow_run.py.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from seqsetvae import names
from seqsetvae.app.main import main
from seqsetvae.data.sources.demo import DEMO_FILE
from seqsetvae.data.store import Store

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SMALL = "--width 16 --latent_dim 4 --levels 1 --heads 2 --ff_dim 16 --history_layers 1 --batch_size 16 --max_steps 40"
QUIET = "--progress_bar false --log_system_metrics false"
MORE = {
    "pretrain": f"{SMALL} {QUIET} --plot_frequency 40",
    "check": SMALL,
    "prepare meds": "--min_subjects 1",
    "finetune": "--finetune.max_epochs 3 --head_input history --log_system_metrics false",
    "evaluate": "--bootstrap 20 --baselines false --log_system_metrics false",
    "tune": f"{SMALL} --n_trials 2 {QUIET}",
}
LONG_ENOUGH = "-P max_steps=240 -P max_epochs=60 -P lr=0.01"
"""For a collapse of the small model, to be found and to be rescued from; and for trials of a sweep that are worth a choice."""
LONG_FLAGS = LONG_ENOUGH.replace("-P ", "--").replace("=", " ")
ELSEWHERE = {
    "seqsetvae prepare physionet2012": "tests/data/test_sources.py",
    "seqsetvae prepare meds": "tests/test_meds_chain.py",
    "seqsetvae import-tensorboard": "tests/tracking/test_import_tensorboard.py",
    "seqsetvae analyze --run version_0": "tests/tracking/test_import_tensorboard.py",
    "seqsetvae monitor --run my_study": "tests/dashboard/test_monitor.py",
    "seqsetvae evaluate --model models:/seqsetvae-mortality@champion --store stores/elsewhere": "tests/test_external_validation.py",
    "seqsetvae certify": "tests/certify/test_certificate.py",
    "seqsetvae bench": "tests/test_packaging.py",
    "mlflow models": "tests/serving/test_http.py",
    "mlflow server": "tests/docs/test_docker.py",
    "torchrun": "tests/training/test_several_processes.py",
    "seqsetvae --completion": "tests/app/test_completion.py",
    "seqsetvae pretrain --resume_from_checkpoint last.ckpt": "tests/training/test_resume.py",
    "mkdir": "tests/app/test_completion.py",
    "curl": "tests/serving/test_http.py",
    "docker": "tests/docs/test_docker.py",
    "printf": "tests/docs/test_docker.py",
    "make": "tests/docs/test_from_the_guides.py",
    "jupyter": "tests/test_notebooks.py",
    "export": "tests/docs/test_from_the_guides.py",
    "source": "tests/test_checkout.py",
    "pip": "tests/test_packaging.py",
}
"""Commands, by their beginning, whose outcome another file of tests asks for."""


def lines_of(page: Path) -> list[str]:
    """The commands of a page, each on one line, without comments."""
    found = []
    for block in re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        if not block.startswith("#!"):  # a script, which has a test of its own
            found += [" ".join(re.sub(r"\s+#.*$| &&$", "", line).split()) for line in block.splitlines()]
    return [line for line in found if line]


LINES = {line: page.relative_to(ROOT) for page in PAGES for line in lines_of(page)}


@dataclass
class World:
    """A folder in which someone has prepared data, trained a model and finetuned it."""

    folder: Path
    uri: str
    said: dict[str, str]

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    def newest(self, kind: str) -> Run:
        experiments = [one.experiment_id for one in self.client.search_experiments()]
        return self.client.search_runs(
            experiments, f"tags.`{names.TAG_KIND}` = '{kind}'", order_by=["start_time DESC"]
        )[0]

    def say(self, line: str, code: int = 0) -> str:
        """What a command of a page prints; it must end well, or as the page says."""
        words = shlex.split(line)
        if words[0] == "mlflow":
            words = ["seqsetvae", words[4], *(word if word == "-P" else f"--{word}" for word in words[5:])]
            words = [part for word in words if word != "-P" for part in word.split("=", 1)]
        verb = words[1]
        first = 3 if verb == "prepare" else 2
        more = MORE.get(" ".join(words[1:first]), "")
        out = io.StringIO()
        shown = contextlib.redirect_stdout(out), contextlib.redirect_stderr(out)
        with contextlib.chdir(self.folder), shown[0], shown[1], pytest.raises(SystemExit) as ended:
            main([*words[1:first], *more.split(), *words[first:]])
        assert (ended.value.code or 0) == code, out.getvalue()
        return out.getvalue()

    def filled(self, line: str) -> str:
        """The line, with what it leaves open."""
        run = self.newest("pretrain").info.run_id
        for word, meant in {
            "DIR": "raw",
            "数据目录": "raw",
            "stores/physionet": "stores/mine",
            "stores/meds": "stores/mine",
            "RUN_ID": run,
            "26274ef4": run[:8],
            "132543": self.patient,
            "seqsetvae/3": "seqsetvae/1",
            '"baseline" "beta 0.5"': f"{run} latest",
            "seqsetvae-mortality/2": "seqsetvae-mortality/1",
            "bf16-mixed": "32",
            "--subjects 10000": "--subjects 200",
            "postgresql://me@db/tune --n_trials 200": f"sqlite:///tune.db --n_trials 3 {LONG_FLAGS}",
            "-P n_trials=24 -P n_workers=2 -P max_epochs=10": f"-P n_trials=3 -P n_workers=2 {LONG_ENOUGH}",
            "--n_trials 24": f"--n_trials 3 {LONG_FLAGS}",
            "tune --lr_range": f"tune --n_trials 6 {LONG_FLAGS} --lr_range",
            "-P max_beta=50": f"-P max_beta=50 {LONG_ENOUGH}",
        }.items():
            line = line.replace(word, meant)
        return line

    @property
    def patient(self) -> str:
        return Store.open(self.folder / "stores" / "mine").subject_ids("test", [0])[0]


def write_raw(folder: Path) -> None:
    """A few dozen of the demo's stays in the guides' layout, with tables of further tasks beside."""
    events = pd.read_parquet(DEMO_FILE).astype({"subject_id": str, "split": str, "variable": str})
    labels = {}
    for split, count in (("train", 60), ("valid", 24), ("test", 24)):
        of_split = events[events["split"] == split]
        outcome = of_split.groupby("subject_id")["label"].first()
        kept = [*outcome[outcome == 1].index[: count // 3], *outcome[outcome == 0].index[: count - count // 3]]
        (folder / "raw" / split).mkdir(parents=True)
        for subject in kept:
            stay = of_split[of_split["subject_id"] == subject][["variable", "value", "minute"]]
            stay.to_parquet(folder / "raw" / split / f"{subject}.parquet", index=False)
            labels[subject] = int(outcome[subject])
    table = pd.DataFrame({"ts_id": labels.keys(), "in_hospital_mortality": labels.values()})
    table.to_csv(folder / "raw" / "oc.csv", index=False)
    table.rename(columns={"ts_id": "subject", "in_hospital_mortality": "long_stay"}).to_csv(
        folder / "tasks.csv", index=False
    )
    schema = {"subject_id": table["ts_id"].astype("int64"), "boolean_value": table["in_hospital_mortality"] == 1}
    pd.DataFrame(schema).to_parquet(folder / "readmission.parquet", index=False)


CHAIN = (
    "seqsetvae prepare patient_ehr --input DIR --output stores/mine",
    "seqsetvae pretrain --store stores/mine",
    "seqsetvae finetune --model models:/seqsetvae@champion --store stores/mine",
)
LONG_STAY = "seqsetvae finetune --model models:/seqsetvae@champion --store stores/mine --labels tasks.csv --task long_stay --at_hours 24"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> World:
    folder = tmp_path_factory.mktemp("world")
    made = World(folder, new_store(folder), {})
    write_raw(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", made.uri)
        for line in CHAIN:
            made.said[line] = made.say(line.replace("DIR", "raw"))
            if "pretrain" in line:  # whether so short a run deserves the alias is not what is asked here
                made.client.set_registered_model_alias("seqsetvae", "champion", "1")
    return made


@pytest.fixture
def its_store(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", world.uri)


Outcome = Callable[[World, str], None]


def prepared(world: World, said: str) -> None:
    store = Store.open(world.folder / "stores" / "mine")
    assert [store.n_subjects(split) for split in ("train", "valid", "test")] == [60, 24, 24]
    assert (world.folder / "stores" / "mine" / "report.html").is_file()
    assert "prevalence" in said.lower() or "positive" in said


def trained(world: World, said: str) -> None:
    run = world.newest("pretrain")
    assert run.info.status == "FINISHED"
    assert re.search(r"Finished: val_loss [\d.]+", said)
    assert run.data.metrics["val_loss"] == pytest.approx(
        run.data.metrics["val_recon"] + run.data.metrics["val_kl"], rel=1e-4
    )


def trained_with(**params: str) -> Outcome:
    def outcome(world: World, said: str) -> None:
        trained(world, said)
        found = {key.rpartition("/")[2]: value for key, value in world.newest("pretrain").data.params.items()}
        assert {key: found.get(key) for key in params} == params

    return outcome


def checked(_: World, said: str) -> None:
    assert "answered in" in said
    assert re.search(r"^ +1 +\d+ +\d+ ", said, re.MULTILINE), "a batch of one patient was tried"


def told(world: World, said: str) -> None:
    assert "  light       " in said
    assert "progress" in said


def demonstrated(_: World, said: str) -> None:
    assert "RED since step" in said


def analyzed(folder: str) -> Outcome:
    def outcome(world: World, said: str) -> None:
        page = (world.folder / folder / "report.html").read_text()
        assert (world.folder / folder / "loss_curves.png").is_file()
        assert world.newest("pretrain").info.run_id[:8] in page

    return outcome


def printed(world: World, said: str) -> None:
    folder = world.folder / "training_analysis"
    assert (folder / "loss_curves.pdf").read_bytes().startswith(b"%PDF")
    assert "data:image/png" in (folder / "report.html").read_text()


def compared(world: World, said: str) -> None:
    assert (world.folder / "training_analysis" / "report.html").is_file()


def drawn(folder: str) -> Outcome:
    def outcome(world: World, said: str) -> None:
        there = {path.name for path in (world.folder / folder).iterdir()}
        assert {"latent_space_umap.png", "reconstruction_errors.png", "patient_view.png", "visualization.txt"} <= there

    return outcome


def finetuned(name: str) -> Outcome:
    def outcome(world: World, said: str) -> None:
        run = world.newest("finetune")
        assert (run.info.status, 0.0 <= run.data.metrics["val_auc"] <= 1.0) == ("FINISHED", True)
        assert f"Registered models:/{name}/" in said

    return outcome


def evaluated(world: World, said: str) -> None:
    run = world.newest("evaluate")
    assert "AUROC" in said
    assert run.info.status == "FINISHED"
    files = {one.path for one in world.client.list_artifacts(run.info.run_id, "evaluation")}
    assert {names.ARTIFACT_EVALUATION_COMPARISON, names.ARTIFACT_EVALUATION_CALIBRATION_FIGURE} <= files


def embedded(world: World, said: str) -> None:
    table = pd.read_parquet(world.folder / "emb.parquet")
    assert len(table) == 108
    assert (table["minute"] <= 24 * 60).all()


def delivered(world: World, said: str) -> None:
    assert "elivered" in said or "othing" in said


def searched(world: World, said: str) -> None:
    parent = world.newest("tune")
    files = {one.path for one in world.client.list_artifacts(parent.info.run_id)}
    assert "best_config.yaml" in files | {path.rpartition("/")[2] for path in files}


def exported(world: World, said: str) -> None:
    import onnx

    graph = onnx.load(world.folder / "risk.onnx").graph
    assert {one.name for one in graph.input} == {"variable", "value", "set", "minute", "subject", "stays"}
    assert [one.name for one in graph.output] == ["answer"]


def made_up(world: World, said: str) -> None:
    store = Store.open(world.folder / "stores" / "synthetic")
    assert sum(store.n_subjects(split) for split in store.splits) == 200


def helps(_: World, said: str) -> None:
    assert len(said.splitlines()) < 60
    assert "--max_epochs" in said


DEARER = pytest.mark.nightly
WARM_UP = "seqsetvae pretrain --max_beta 0.1 --beta_warmup_steps 5000 --free_bits 0.1 --early_warning --adaptive --max_epochs 200"
ON_A_GPU = (
    "seqsetvae pretrain --store stores/mine --batch_size 4 --gradient_accumulation_steps 2 --max_sequence_length 1000 --precision 16-mixed "
    "--fast_detection"
)
TOO_HIGH = "mlflow run . -e pretrain -P max_beta=50"
RESCUED = "mlflow run . -e pretrain -P max_beta=50 -P on_collapse=rescue"
FORESEE = 'seqsetvae pretrain --store stores/physionet --foresee_hours "[1,6,24]" --remember true'
FORECAST = "seqsetvae forecast --store stores/physionet --horizon 6 --at 24h"
IMPUTE = ("seqsetvae impute --store stores/physionet", "seqsetvae impute --store stores/physionet --points points.csv")
ICU = "seqsetvae tune --study icu --storage postgresql://me@db/tune --n_trials 200"
ICU_LINES = (f"{ICU} --n_workers 4", f"{ICU} --n_workers 4 --join", ICU)
OF_A_STUDY = "seqsetvae analyze --run my_study --log"
REGISTER = ("seqsetvae register --run RUN_ID", "mlflow run . -e register -P run=RUN_ID")
BEST = "mlflow run . -e pretrain -P config=best_config.yaml -P max_epochs=100"
SPECIAL = {WARM_UP, ON_A_GPU, TOO_HIGH, RESCUED, FORESEE, FORECAST, *IMPUTE, *ICU_LINES, OF_A_STUDY, *REGISTER, BEST}
CASES: list[tuple[str, Outcome]] = [
    (CHAIN[0], prepared),
    (CHAIN[1], trained),
    (CHAIN[2], finetuned("seqsetvae-mortality")),
    ("seqsetvae pretrain --help", helps),
    ("seqsetvae check --store stores/mine", checked),
    ("seqsetvae monitor", told),
    ("seqsetvae monitor --demo", demonstrated),
    ("seqsetvae analyze", analyzed("training_analysis")),
    ("seqsetvae evaluate --store stores/mine", evaluated),
    ("seqsetvae sync", delivered),
    ("seqsetvae embed --model models:/seqsetvae@champion --store stores/mine --at 24h --output emb.parquet", embedded),
]
NIGHTLY: list[tuple[str, Outcome]] = [
    (LONG_STAY, finetuned("seqsetvae-long_stay")),
    ("seqsetvae pretrain --max_epochs 3", trained_with(max_epochs="3")),
    ("seqsetvae prepare patient_ehr --input 数据目录 --output stores/mine", prepared),
    ("seqsetvae check --store stores/physionet", checked),
    ("seqsetvae check --store stores/meds", checked),
    ("seqsetvae visualize --store stores/mine", drawn("visualizations")),
    ("mlflow run . -e pretrain", trained),
    ("mlflow run . -e pretrain -P max_epochs=3", trained_with(max_epochs="3")),
    ("mlflow run . -e pretrain -P max_epochs=3 -P max_beta=0.05", trained_with(max_epochs="3", max_beta="0.05")),
    ("seqsetvae pretrain --max_epochs 3 --max_beta 0.05", trained_with(max_epochs="3", max_beta="0.05")),
    ("seqsetvae pretrain --store stores/physionet", trained),
    ("seqsetvae pretrain --store stores/meds", trained),
    (
        "seqsetvae pretrain --store stores/mine --experiment /Users/me@example.org/seqsetvae --register_model false",
        trained,
    ),
    (
        "seqsetvae pretrain --store stores/mine --batch_size 4 --precision bf16-mixed --gradient_accumulation_steps 2",
        trained_with(batch_size="4", gradient_accumulation_steps="2"),
    ),
    ("seqsetvae pretrain --fast_detection", trained_with(fast_detection="True", kl_threshold="0.005")),
    ("seqsetvae pretrain --preset optimized --fast_detection", trained_with(preset="optimized")),
    (
        "seqsetvae pretrain --fast_detection --max_epochs 2 --log_dir my_collapse_logs",
        trained_with(fast_detection="True"),
    ),
    ("seqsetvae pretrain --rules source --on_collapse warn", trained_with(rules="source")),
    ("seqsetvae monitor --once", told),
    ("seqsetvae analyze --format pdf --style paper", printed),
    ("seqsetvae analyze --run 26274ef4 --save_dir out", analyzed("out")),
    ("seqsetvae analyze --run latest --save_dir training_analysis", analyzed("training_analysis")),
    ("seqsetvae analyze --run latest --save_dir my_training_analysis", analyzed("my_training_analysis")),
    ('seqsetvae analyze --run "baseline" "beta 0.5"', compared),
    ("seqsetvae visualize --store stores/physionet", drawn("visualizations")),
    ("seqsetvae visualize --model RUN_ID --patient 132543 --log", drawn("visualizations")),
    ("mlflow run . -e visualize -P model=models:/seqsetvae/3 -P store=stores/physionet", drawn("visualizations")),
    *(
        (
            f"seqsetvae visualize --{flag} last.ckpt --store stores/mine --save_dir model_visualizations --max_batches 20 --batch_size 32",
            drawn("model_visualizations"),
        )
        for flag in ("checkpoint", "model")
    ),
    (
        "seqsetvae finetune --pretrained_ckpt models:/seqsetvae@champion --store stores/mine",
        finetuned("seqsetvae-mortality"),
    ),
    (
        "seqsetvae finetune --model models:/seqsetvae@champion --store stores/physionet",
        finetuned("seqsetvae-mortality"),
    ),
    *(
        (
            f"mlflow run . -e finetune -P model=models:/seqsetvae@champion -P store=stores/{store}",
            finetuned("seqsetvae-mortality"),
        )
        for store in ("mine", "physionet")
    ),
    (
        "seqsetvae finetune --model models:/seqsetvae@champion --store stores/meds --labels readmission.parquet",
        finetuned("seqsetvae-readmission"),
    ),
    (
        "seqsetvae evaluate --model models:/seqsetvae-readmission@champion --store stores/meds --labels readmission.parquet",
        evaluated,
    ),
    (
        "seqsetvae evaluate --model models:/seqsetvae-long_stay@champion --store stores/mine --labels tasks.csv --task long_stay "
        "--at_hours 24",
        evaluated,
    ),
    ("seqsetvae evaluate --store stores/physionet", evaluated),
    (
        "seqsetvae evaluate --store stores/physionet --model models:/seqsetvae-mortality/1,models:/seqsetvae-mortality/2",
        evaluated,
    ),
    ("seqsetvae embed --model models:/seqsetvae/3 --store stores/mine --at 24h --output emb.parquet", embedded),
    ("seqsetvae export --model models:/seqsetvae-mortality@champion --format onnx --output risk.onnx", exported),
    ("seqsetvae prepare synthetic --output stores/synthetic --subjects 10000", made_up),
    ("mlflow run . -e tune -P n_trials=24 -P n_workers=2 -P max_epochs=10", searched),
    ("seqsetvae tune --n_trials 24 --n_workers 2", searched),
    (
        'seqsetvae tune --lr_range "[1e-4, 1e-2]" --latent_dims "[32, 64, 128]" --schedules "[linear, cyclical]"',
        searched,
    ),
]


def test_every_command_of_the_pages_has_a_test():
    run = {line for line, _ in CASES + NIGHTLY} | SPECIAL
    left = [
        f"{page}: {line}" for line, page in LINES.items() if line not in run and not line.startswith(tuple(ELSEWHERE))
    ]
    assert left == []
    assert [line for line in run if line not in LINES] == [], "no page has these any more"
    assert [path for path in ELSEWHERE.values() if not (ROOT / path).is_file()] == []


@pytest.mark.slow
@pytest.mark.usefixtures("its_store")
@pytest.mark.parametrize(
    ("line", "outcome"),
    [*CASES, *(pytest.param(*case, marks=DEARER) for case in NIGHTLY)],
    ids=lambda one: (
        one[:90] if isinstance(one, str) else ""
    ),  # a function shows its address: another one in each process
)
def test_a_command_does_what_its_page_says(world, line, outcome):
    outcome(world, world.said[line] if line in world.said else world.say(world.filled(line)))


@pytest.mark.nightly
@pytest.mark.usefixtures("its_store")
def test_a_warm_up_of_5000_steps_is_planned_as_such(world):
    said = world.say(
        WARM_UP.replace("pretrain", "check").replace(" --max_epochs 200", "")
        + " --batch_size 8 --max_steps 8000 --max_epochs 200"
    )
    assert "5000" in said


@pytest.mark.nightly
@pytest.mark.usefixtures("its_store")
def test_what_needs_a_gpu_is_refused_without_one_and_trains_with_32_bits(world, monkeypatch, capsys):
    monkeypatch.chdir(world.folder)
    with pytest.raises(SystemExit) as ended:
        main([*ON_A_GPU.split()[1:], "--accelerator", "cpu"])
    assert ended.value.code == 2
    assert "16-mixed needs a GPU" in capsys.readouterr().err
    said = world.say(ON_A_GPU.replace("16-mixed", "32"))
    trained_with(batch_size="4", gradient_accumulation_steps="2", max_sequence_length="1000", fast_detection="True")(
        world, said
    )


@pytest.mark.nightly
@pytest.mark.usefixtures("its_store")
def test_a_beta_that_is_too_high_ends_red_and_a_rescue_from_it_healthy(world):
    said = world.say(world.filled(TOO_HIGH), code=3)
    assert said.index("Likely to collapse: beta") < said.index("🔴 posterior collapse detected!")
    stopped = world.newest("pretrain")
    assert (stopped.info.status, stopped.data.tags[names.TAG_COLLAPSE]) == ("KILLED", "red")
    world.say(world.filled(RESCUED))
    rescued = world.newest("pretrain")
    assert rescued.data.tags[names.TAG_COLLAPSE] in ("green", "yellow")
    assert "mlflow.parentRunId" in rescued.data.tags


@pytest.mark.nightly
@pytest.mark.usefixtures("its_store")
def test_what_is_expected_and_what_was_not_measured_are_tables(world):
    world.say(world.filled(FORESEE))
    newest = max(int(one.version) for one in world.client.search_model_versions("name = 'seqsetvae'"))
    champion = world.client.get_model_version_by_alias("seqsetvae", "champion").version
    world.client.set_registered_model_alias("seqsetvae", "champion", str(newest))
    try:
        world.say(world.filled(FORECAST))
        expected = pd.read_parquet(world.folder / "forecasts.parquet")
        assert (expected["hours"] == 6).all()
        assert (expected["low_90"] <= expected["value"]).all()
        assert (expected["value"] <= expected["high_90"]).all()
        assert 0 < expected["subject"].nunique() <= 24
        points = pd.DataFrame({"subject": [world.patient], "minute": [60.0], "variable": ["HR"]})
        points.to_csv(world.folder / "points.csv", index=False)
        for line, least in zip(IMPUTE, (24, 1), strict=True):
            world.say(world.filled(line))
            filled = pd.read_parquet(world.folder / "imputed.parquet")
            assert len(filled) >= least
            assert (world.folder / "imputed.png").is_file()
    finally:
        world.client.set_registered_model_alias("seqsetvae", "champion", champion)


@pytest.mark.nightly
@pytest.mark.usefixtures("its_store")
def test_a_run_that_was_not_registered_is_registered_by_hand(world):
    for line in REGISTER:
        world.say(world.filled("seqsetvae pretrain --store stores/mine --register_model false"))
        run_id = world.newest("pretrain").info.run_id
        found = re.search(r"Registered models:/seqsetvae/(\d+)", world.say(world.filled(line)))
        assert found is not None
        assert world.client.get_model_version("seqsetvae", found[1]).run_id == run_id


@pytest.mark.nightly
@pytest.mark.usefixtures("its_store")
def test_a_sweep_is_led_helped_taken_up_again_looked_at_and_its_winner_trained(world):
    for line in ICU_LINES:
        world.say(world.filled(line))
    parent = world.newest("tune")
    trials = [
        run
        for run in world.client.search_runs([parent.info.experiment_id], "tags.`seqsetvae.study` = 'icu'")
        if names.TAG_TRIAL in run.data.tags
    ]
    assert len(trials) == 3, "helpers and the second start have found nothing left to do"
    world.say(world.filled(OF_A_STUDY.replace("my_study", "icu")))
    compared(world, "")
    for trial in trials:
        assert names.ARTIFACT_ANALYSIS in {one.path for one in world.client.list_artifacts(trial.info.run_id)}
    best = world.client.download_artifacts(parent.info.run_id, names.ARTIFACT_BEST_CONFIG, str(world.folder))
    assert Path(best).name == "best_config.yaml"
    trained_with(max_epochs="100")(world, world.say(world.filled(BEST)))
