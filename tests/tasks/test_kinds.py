"""Each kind of task against a planted truth, and its scores against other implementations of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import r2_score, roc_auc_score
from torchmetrics.functional.classification import multiclass_auroc

from seqsetvae import names
from seqsetvae.config import FinetuneConfig
from seqsetvae.errors import InputError
from seqsetvae.tasks.binary import Binary
from seqsetvae.tasks.kind import Kind
from seqsetvae.tasks.kinds import KINDS, restore
from seqsetvae.tasks.multiclass import MultiClass
from seqsetvae.tasks.multilabel import MultiLabel
from seqsetvae.tasks.regression import Regression
from seqsetvae.tasks.survival import brier_under_censoring, concordance, kaplan_meier
from seqsetvae.tasks.time_to_event import TimeToEvent
from seqsetvae.training.finetuning.head_training import Examples, train_head

CONFIG = FinetuneConfig(head_lr=1e-2, max_epochs=20, patience=5, hidden=16, dropout=0.0, batch_size=250)


def inputs(n: int, seed: int) -> tuple[torch.Tensor, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, generator=generator), generator


def numbers(n: int, seed: int) -> Examples:
    """100 + 10 x + noise of 5."""
    x_BF, generator = inputs(n, seed)
    return Examples(x_BF, 100.0 + 10.0 * x_BF[:, 0] + 5.0 * torch.randn(n, generator=generator))


def labels(n: int, seed: int) -> Examples:
    """Two labels that x tells, one by each feature, and one that never comes; a third of the first are not known."""
    x_BF, generator = inputs(n, seed)
    label = torch.zeros(n, 3)
    label[:, :2] = (torch.rand(n, 2, generator=generator) < torch.sigmoid(2.0 * x_BF[:, :2] - 1.0)).float()
    label[torch.rand(n, generator=generator) < 0.33, 0] = torch.nan
    return Examples(x_BF, label)


def classes(n: int, seed: int) -> Examples:
    """Three classes, drawn from the softmax of 2 x_0, 2 x_1 - 1 and 0."""
    x_BF, generator = inputs(n, seed)
    drawn = torch.multinomial(true_probability(x_BF), 1, generator=generator)[:, 0]
    return Examples(x_BF, torch.nn.functional.one_hot(drawn, 3).float())


def true_probability(x_BF: torch.Tensor) -> torch.Tensor:
    return torch.softmax(torch.stack([2 * x_BF[:, 0], 2 * x_BF[:, 1] - 1, 0 * x_BF[:, 0]], dim=1), dim=1)


def times(n: int, seed: int) -> Examples:
    """Exponential times with a mean of 24 e^-x hours, of which those beyond another exponential time are lost."""
    x_BF, generator = inputs(n, seed)
    event = torch.empty(n).exponential_(generator=generator) * 24.0 * torch.exp(-x_BF[:, 0])
    lost = torch.empty(n).exponential_(generator=generator) * 48.0
    return Examples(x_BF, torch.stack([(event <= lost).float(), torch.minimum(event, lost)], dim=1))


def learned(
    kind: type[Kind], make, config: FinetuneConfig = CONFIG
) -> tuple[Kind, np.ndarray, np.ndarray, torch.Tensor]:
    """Kind, answers and labels of stays that were neither learned from nor used to recalibrate, and their features."""
    train, valid, fresh = make(2000, 0), make(1000, 1), make(3000, 2)
    of_train = kind.fit(train.label_B, ("a", "b", "c"), config)
    head = train_head(train, valid, of_train, config).head
    with torch.no_grad():
        slope, offset = of_train.recalibration(head(valid.x_BF), valid.label_B)

        def answer(of: Kind, x_BF: torch.Tensor) -> np.ndarray:
            return of.answer(slope * head(x_BF) + offset).double().numpy()

        settled = of_train.settled(answer(of_train, valid.x_BF), valid.label_B.double().numpy())
        return settled, answer(settled, fresh.x_BF), fresh.label_B.double().numpy(), fresh.x_BF


def test_numbers_are_found_with_intervals_that_hold_nine_in_ten() -> None:
    kind, answer, label, _ = learned(Regression, numbers)
    found = {key: score(label, answer) for key, score in kind.measures().items()}
    assert found["r2"] == pytest.approx(0.8, abs=0.03)  # the best there is: 100 / 125
    assert found["rmse"] == pytest.approx(5.0, abs=0.3)
    assert abs(found["bias"]) < 0.5
    assert found["coverage_90"] == pytest.approx(0.9, abs=0.02)
    assert found["r2"] == pytest.approx(r2_score(label, answer[:, 0]))
    assert found["spearman"] == pytest.approx(stats.spearmanr(label, answer[:, 0]).statistic)
    as_in_training = kind.metrics(torch.from_numpy(answer), torch.from_numpy(label))
    assert as_in_training[names.FINETUNE_R2] == pytest.approx(found["r2"], abs=1e-4)
    assert as_in_training[names.FINETUNE_SPEARMAN] == pytest.approx(found["spearman"], abs=1e-4)
    for predicted, observed, _ in kind.calibration(label, answer):
        assert predicted == pytest.approx(observed, abs=1.5)


def lengths(n: int, seed: int) -> Examples:
    """e^(3 + x + noise of 0.5) - 1, never below 0 and with a long tail."""
    x_BF, generator = inputs(n, seed)
    return Examples(x_BF, torch.expm1(3.0 + x_BF[:, 0] + 0.5 * torch.randn(n, generator=generator)).clamp(min=0.0))


def test_lengths_with_a_long_tail_are_learned_on_their_logarithm() -> None:
    config = replace(CONFIG, outcome_scale="log")
    kind, answer, label, x_BF = learned(Regression, lengths, config)
    # Of no answer is the mean absolute error smaller than of the median.
    best = np.abs(np.expm1(3.0 + x_BF[:, 0].double().numpy()).clip(0.0) - label).mean()
    found = {key: score(label, answer) for key, score in kind.measures().items()}
    assert found["mae"] < 1.1 * best
    as_they_are = learned(Regression, lengths)[1]
    assert found["mae"] < np.abs(as_they_are[:, 0] - label).mean()
    assert found["coverage_90"] == pytest.approx(0.9, abs=0.02)
    assert (answer[:, 1] >= 0.0).all()
    # The intervals are those of the noise, 1.645 * 0.5 to both sides on the logarithm: wide where the value is large.
    value, _, high = np.log1p(answer[answer[:, 0] > 0]).T
    np.testing.assert_allclose(high - value, 1.645 * 0.5, atol=0.08)
    with pytest.raises(InputError, match=r"--outcome_scale log .* one is -1"):
        Regression.fit(torch.tensor([3.0, -1.0]), ("a",), config)


def test_several_labels_are_learned_from_what_is_known_of_each() -> None:
    kind, answer, label, x_BF = learned(MultiLabel, labels)
    found = {key: score(label, answer) for key, score in kind.measures().items()}
    known = ~np.isnan(label[:, 0])
    assert found["auroc_a"] == pytest.approx(roc_auc_score(label[known, 0], answer[known, 0]))
    best = [roc_auc_score(label[rows, column], x_BF[rows, column]) for column, rows in ((0, known), (1, slice(None)))]
    assert found["auroc"] == pytest.approx(np.mean(best), abs=0.01)
    assert np.isnan(found["auroc_c"])
    assert abs(found["calibration_gap"]) < 0.03
    assert answer[known, 0].mean() == pytest.approx(label[known, 0].mean(), abs=0.03)
    assert answer[:, 2].max() < 0.2  # a label that never came
    assert kind.columns == ("risk_a", "risk_b", "risk_c")


@pytest.mark.parametrize("loss", ["plain", "weighted", "focal"])
def test_classes_get_their_true_probabilities_whatever_the_loss(loss: str) -> None:
    kind, answer, label, x_BF = learned(MultiClass, classes, replace(CONFIG, loss=loss))
    found = {key: score(label, answer) for key, score in kind.measures().items()}
    np.testing.assert_allclose(answer.sum(1), 1.0, atol=1e-6)
    assert np.abs(answer - true_probability(x_BF).numpy()).mean() < 0.035
    said, truth = torch.from_numpy(answer), torch.from_numpy(label).argmax(1)
    assert found["auroc"] == pytest.approx(float(multiclass_auroc(said, truth, num_classes=3)), abs=1e-5)
    assert found["auroc"] == pytest.approx(roc_auc_score(label.argmax(1), answer, multi_class="ovr"))
    assert found["accuracy"] == pytest.approx((answer.argmax(1) == label.argmax(1)).mean())
    assert found["log_loss"] == pytest.approx(sklearn_log_loss(label.argmax(1), answer))
    as_in_training = kind.metrics(said, torch.from_numpy(label))
    assert as_in_training[names.FINETUNE_AUC] == pytest.approx(found["auroc"], abs=1e-5)
    assert as_in_training[names.FINETUNE_ACCURACY] == pytest.approx(found["accuracy"], abs=1e-6)
    assert kind.columns == ("probability_a", "probability_b", "probability_c")


def test_times_are_ranked_and_their_risks_are_the_true_ones() -> None:
    kind, answer, label, x_BF = learned(TimeToEvent, times)
    assert isinstance(kind, TimeToEvent)
    found = {key: score(label, answer) for key, score in kind.measures().items()}
    assert found["c_index"] > concordance(label[:, 1], label[:, 0], x_BF[:, 0].double().numpy()) - 0.01
    edges = np.array(kind.edges)
    true_BJ = 1.0 - np.exp(-edges / (24.0 * np.exp(-x_BF[:, :1].double().numpy())))
    assert np.abs(answer[:, :-1] - true_BJ).mean() < 0.06
    assert abs(found["calibration_gap"]) < 0.06
    for predicted, observed, _ in kind.calibration(label, answer):
        assert predicted == pytest.approx(observed, abs=0.08)
    assert kind.columns[0] == f"risk_by_{edges[0]:g}h"
    assert (np.diff(answer[:, :-1], axis=1) >= 0).all()
    assert ((answer[:, -1] >= 0) & (answer[:, -1] <= edges[-1])).all()


ALL = [(Regression, numbers), (MultiLabel, labels), (MultiClass, classes), (TimeToEvent, times)]


@pytest.mark.parametrize(("kind", "make"), ALL)
def test_one_linear_layer_learns_what_is_linear_as_well_as_two(kind: type[Kind], make) -> None:
    seen, unseen = make(2000, 0), make(1000, 1)
    fitted = kind.fit(seen.label_B, ("a", "b", "c"), CONFIG)
    two, one = (train_head(seen, unseen, fitted, replace(CONFIG, hidden=hidden)) for hidden in (16, 0))
    score = fitted.monitor(CONFIG)
    assert one.chosen.startswith("best C ")
    assert one.metrics[score] > two.metrics[score] - 0.01


@pytest.mark.parametrize(("kind", "make"), ALL)
def test_a_kind_survives_json_and_has_intervals(kind: type[Kind], make) -> None:
    some = make(200, 0)
    label = some.label_B.double().numpy()
    fitted = kind.fit(some.label_B, ("a", "b", "c"), CONFIG)
    again = restore(json.loads(json.dumps(fitted.state())))
    assert again == fitted
    answer = fitted.answer(torch.randn(200, fitted.outputs).squeeze(1)).double().numpy()
    found = fitted.with_intervals(label, answer, repeats=20)
    assert set(fitted.headings) <= found.keys()
    assert all(
        one.low <= one.value <= one.high for key, one in found.items() if not np.isnan(one.value) and "auroc" in key
    )
    assert fitted.unusable(label) == ""
    nothing = np.full_like(label, 0.0)
    assert fitted.unusable(nothing)


def test_what_the_outcomes_of_a_split_are() -> None:
    label = np.array([[1.0, np.nan, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, np.nan], [1.0, np.nan, 0.0]])
    assert MultiLabel.overview(label, "abc") == {"share with a": 0.5, "share with b": 0.5, "share with c": 0.0}
    assert Binary.overview(label[:, 0], ["outcome"]) == {"prevalence": 0.5}
    assert Regression.overview(np.arange(21.0), ["x"]) == {"5 percentile": 1.0, "median": 10.0, "95 percentile": 19.0}
    times = np.array([[1.0, 3.0], [0.0, 9.0], [0.0, 5.0], [0.0, 7.0]])
    assert TimeToEvent.overview(times, ["event", "hours"]) == {"share with the event": 0.25, "median hours": 6.0}


def test_every_kind_has_its_name() -> None:
    assert list(KINDS) == ["binary", "multiclass", "multilabel", "regression", "time_to_event"]
    assert restore(None).name == "binary"


def test_survival_scores_are_those_of_their_definitions() -> None:
    rng = np.random.default_rng(0)
    hours, event, score = rng.integers(1, 30, 300).astype(float), (rng.random(300) < 0.5).astype(float), rng.random(300)
    right = pairs = 0.0
    for i in range(300):
        for j in range(300):
            if event[i] and (hours[i] < hours[j] or (hours[i] == hours[j] and not event[j])):
                pairs += 1
                right += score[i] > score[j]
    assert concordance(hours, event, score) == pytest.approx(right / pairs)

    share, at = 1.0, 12.0
    for time in sorted(set(hours[(event > 0) & (hours <= at)])):
        share *= 1 - ((hours == time) & (event > 0)).sum() / (hours >= time).sum()
    assert kaplan_meier(hours, event, np.array([at]))[0] == pytest.approx(share)

    # Where nobody is lost it is the plain Brier score.
    risk, edges = rng.random((300, 2)), np.array([8.0, 20.0])
    plain = np.mean([((hours <= edge) - risk[:, j]) ** 2 for j, edge in enumerate(edges)])
    assert brier_under_censoring(hours, np.ones(300), risk, edges) == pytest.approx(plain)


def test_the_brier_score_is_not_moved_by_who_is_lost() -> None:
    rng = np.random.default_rng(1)
    true, lost = rng.exponential(10.0, 20_000), rng.exponential(20.0, 20_000)
    risk = np.clip(rng.normal(0.5, 0.2, (20_000, 1)), 0, 1)
    whole = brier_under_censoring(true, np.ones(20_000), risk, np.array([8.0]))
    seen = brier_under_censoring(np.minimum(true, lost), (true <= lost).astype(float), risk, np.array([8.0]))
    assert seen == pytest.approx(whole, abs=0.01)
