"""How an experiment greets a person in MLflow's UI: on its runs, with a description and a view to compare them in.

MLflow 3.17 keeps saved views as tags of the experiment, lists them under "Views", and opens one whose key is in the address.
"""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from seqsetvae import names

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

VIEW = "seqsetvae"
TAG_VIEW, TAG_KIND, TAG_NOTE = f"mlflow.sharedViewState.{VIEW}", "mlflow.experimentKind", "mlflow.note.content"
TRAINING = "custom_model_development"
"""Opens the UI on runs and charts; without it MLflow 3 guesses, and may show an overview of chat traces."""
NOTE = f"""SeqSetVAE: runs of pretraining, sweeps, finetuning and evaluation.

*Views → {VIEW}* shows the columns and charts in which runs are compared. Searches that help:

- `tags.collapse = 'red'`: runs that collapsed (`green`, `yellow`, `orange`; `tags.collapse.worst`: the worst they have been)
- `tags.\\`{names.TAG_KIND}\\` = 'pretrain'` (`tune`, `finetune`, `evaluate`)
- `tags.\\`{names.TAG_DATA}\\` = 'demo'`: by data
- `metrics.\\`{names.COLLAPSE_MUTUAL_INFORMATION}\\` > 1`
"""
COLUMNS = (
    f"tags.`{names.TAG_COLLAPSE}`",
    f"metrics.`{names.VAL_RECON}`",
    f"metrics.`{names.VAL_LOSS}`",
    f"metrics.`{names.COLLAPSE_KL}`",
    f"metrics.`{names.COLLAPSE_MUTUAL_INFORMATION}`",
    f"metrics.`{names.COLLAPSE_ACTIVE_RATIO}`",
    f"metrics.`{names.FINETUNE_AUC}`",
    "params.`objective/max_beta`",
    f"tags.`{names.TAG_KIND}`",
    f"tags.`{names.TAG_DATA}`",
)
SECTIONS: dict[str, tuple[str, ...]] = {
    "Does it learn?": (names.VAL_RECON, names.VAL_LOSS, names.TRAIN_RECON),
    "Are the latents in use?": (
        names.COLLAPSE_LEVEL,
        names.COLLAPSE_MUTUAL_INFORMATION,
        names.COLLAPSE_ACTIVE_RATIO,
        names.COLLAPSE_KL,
        names.COLLAPSE_DECODER_USE,
        names.BETA,
    ),
    "Is training steady?": (names.GRADIENT_NORM, names.LEARNING_RATE, names.PATIENTS_PER_SECOND),
}
"""Charts, from what one asks first to what one asks last."""


def furnish(client: MlflowClient, experiment: Experiment) -> None:
    """Set what the experiment has not; what somebody has changed stays as it is.

    Also of one that was there before, such as the `Default` of `mlflow run`.
    """
    from mlflow.exceptions import MlflowException

    for key, value in ((TAG_KIND, TRAINING), (TAG_NOTE, NOTE), (TAG_VIEW, saved_view())):
        if key not in experiment.tags:
            with suppress(MlflowException):  # who may write runs but not change experiments is not kept from it
                client.set_experiment_tag(experiment.experiment_id, key, value)


def runs_page(experiment_id: str) -> str:
    """The part behind `#` of the address at which all runs of an experiment are compared."""
    return f"/experiments/{experiment_id}/runs?workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={VIEW}"


def run_page(experiment_id: str, run_id: str, artifact: str = "") -> str:
    """The part behind `#` of the address of a run, or of one of its artifacts."""
    place = f"/artifacts/{artifact}" if artifact else ""
    return f"/experiments/{experiment_id}/runs/{run_id}{place}?workflowType=machine_learning"


def picture(run_id: str, artifact: str, text: str) -> str:
    """Markdown that shows an image among a run's artifacts in a description, in its own size. The address is relative to the UI's.

    >>> picture("0c" * 16, "study/history.png", "History")
    '![History](get-artifact?path=study%2Fhistory.png&run_uuid=0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c)'
    """
    return f"![{text}](get-artifact?path={quote(artifact, safe='')}&run_uuid={run_id})"


def artifact_links(experiment_id: str, run_id: str, artifacts: Mapping[str, str]) -> str:
    """Markdown that leads to artifacts, from path and words."""
    return " · ".join(f"[{words}](#{run_page(experiment_id, run_id, path)})" for path, words in artifacts.items())


def saved_view() -> str:
    """The value of the tag: an experiment's tags hold 5,000 characters, hence compressed."""
    state = "deflate;" + base64.b64encode(zlib.compress(json.dumps(_state()).encode(), 9)).decode()
    now = int(time.time() * 1000)
    return json.dumps({"name": VIEW, "createdAt": now, "updatedAt": now, "state": state})


def _state() -> dict[str, Any]:
    return {
        "searchFilter": "",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(COLUMNS),
        "columnOrder": list(COLUMNS),  # else the table has metrics before tags
        "columnWidths": {},
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunCharts": [_chart(key, title) for title, keys in SECTIONS.items() for key in keys],
        "compareRunSections": [
            {"uuid": title, "name": title, "display": True, "isReordered": True} for title in SECTIONS
        ],
        "isAccordionReordered": True,
        "viewMaximized": False,
        "runListHidden": False,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
    }


def _chart(key: str, section: str) -> dict[str, Any]:
    return {
        "uuid": key,
        "type": "LINE",
        "metricSectionId": section,
        "displayName": key,
        "metricKey": key,
        "selectedMetricKeys": [key],
        "runsCountToCompare": 20,
        "deleted": False,
        "isGenerated": False,
        "lineSmoothness": 0,
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "range": {},
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }
