"""What a notebook shows of a result fits on a line, and says what one wants to know first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from seqsetvae.certify.report import Requirement
from seqsetvae.certify.run import Certificate
from seqsetvae.certify.table import Table
from seqsetvae.collapse.detector import Detector
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.collapse.outlook import BetaOutlook
from seqsetvae.collapse.statistics import CollapseStatistics
from seqsetvae.config import MonitorConfig, TrackingConfig
from seqsetvae.config.settling import settle_monitor
from seqsetvae.dashboard.monitor import MonitorResult, monitor
from seqsetvae.data.demo_store import open_store
from seqsetvae.data.report import PrepareReport, SplitReport
from seqsetvae.evaluation.embed import EmbedResult
from seqsetvae.evaluation.evaluate import Evaluation
from seqsetvae.tracking.registry.versions import Registered
from seqsetvae.tracking.write.delivery import Outcome, SyncReport
from seqsetvae.training.check import Preflight
from seqsetvae.training.finetuning.finetune import FinetuneResult
from seqsetvae.training.finetuning.mortality import read_risk_model
from seqsetvae.training.monitor.collapse_outcome import CollapseOutcome
from seqsetvae.training.pretrained.loading import load
from seqsetvae.training.pretrained.registration import Registration
from seqsetvae.training.recording import PretrainResult
from seqsetvae.tuning.lead import TuneResult
from seqsetvae.tuning.results import Results

RELEASED = Path(__file__).parent / "integrity" / "release_0_1_0"
RUN = "c8f2dbe63af6492a813946f65d980396"
DEAD = CollapseStatistics(500, 1024, 0.001, 0, 16, 0.0, 6.9, 1.0, 1.0, 1.0, 1.0, kl_Z=np.zeros(256, np.float32))
EVENTS = pd.DataFrame({"subject": ["a", "a"], "minute": [0.0, 5.0], "variable": ["HR", "HR"], "value": [80.0, 90.0]})


def results() -> dict[str, object]:
    """One of each, real ones where that takes no training."""
    store = open_store(RELEASED / "store")
    model = load(RELEASED / "last.ckpt")
    known = EVENTS.assign(variable=model.vocabulary.names[0])
    risk = read_risk_model(RELEASED / "risk")
    demo = monitor(TrackingConfig(), [], demo=True, once=True)
    outcome = CollapseOutcome(Level.RED, Level.RED, 102, 108, DEAD, None)
    detector = Detector(settle_monitor(MonitorConfig(grace_steps=0), 400), BetaOutlook(400))
    return {
        "15 train, 4 valid, 5 test; 4 variables": store,
        "Vocabulary of 4 variables": store.vocabulary,
        "4 subjects": store.gather("valid", 0, np.arange(4)),
        "latent dimensions": model,
        model.recipe.run_id: model.recipe,
        "2 sets": model.encode(known),
        "Pretrained": risk,
        "0 of 16 units active": DEAD,
        "out of range: kl": detector.check(replace(DEAD, step=10)),
        "at worst red": outcome,
        "val_loss 24.66": PretrainResult(RUN, Path("outputs/final_0000450.ckpt"), {"val_loss": 24.664}, outcome),
        "val_auc 0.8312": FinetuneResult(RUN, risk, {"val_auc": 0.83124}, None),
        "80 stays, 11 positive": Evaluation(RUN, 80, 11, {f"models:/seqsetvae/{i}": {} for i in range(9)}, {}, DEAD.kl_Z, {}),
        "1 of 2 runs complete, 12 delivered": SyncReport((Outcome(RUN, 12), Outcome(RUN, unsent=3))),
        "about 0:08:00 an epoch, 900 of 4000 MB": Preflight((), 480.0, 24_000, 900 * 2**20, 4000 * 2**20),
        "FAILED, 1 of 2 requirements met": Certificate(Table("Cases", ("case",)), [Requirement("a", "", one) for one in (True, False)]),
        "champion: no, not below": Registration(Registered("seqsetvae", "3", "m-1", RUN, {}), False, "not below the champion's"),
        "0 trials": TuneResult("beta and free bits", RUN, Results([], []), "model:\n  width: 256\n"),
        "emb.parquet: 1,024 rows of 480 stays": EmbedResult(Path("emb.parquet"), 1024, 480, {}, 0),
        "3 runs: simulated collapse (demo) red, simulated": MonitorResult(demo.runs * 3),
        "480 subjects": PrepareReport("demo", "stores/demo", splits={"train": SplitReport(320), "valid": SplitReport(160)}),
    }  # fmt: skip


def test_a_result_is_shown_on_one_line_that_says_what_it_holds():
    for said, result in results().items():
        shown = repr(result)
        assert "\n" not in shown, said
        assert len(shown) <= 160, said
        assert said in shown
