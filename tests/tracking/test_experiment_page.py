"""How an experiment greets a person: its view is one that MLflow's UI can read, and what somebody has changed stays."""

from __future__ import annotations

import base64
import io
import json
import zlib

import pytest
from mlflow import MlflowClient
from PIL import Image

from seqsetvae import names
from seqsetvae.tracking.compat.experiment_page import SECTIONS, TAG_NOTE, TAG_VIEW
from seqsetvae.tracking.compat.image_series import THUMBNAIL_WIDTH, thumbnail


def test_a_new_experiment_has_a_view_with_our_metrics(store, open_run):
    with open_run(store) as run:
        pass
    tags = MlflowClient(store).get_experiment(run.experiment_id).tags
    envelope = json.loads(tags[TAG_VIEW])
    state = json.loads(zlib.decompress(base64.b64decode(envelope["state"].removeprefix("deflate;"))))
    sections = {section["uuid"] for section in state["compareRunSections"]}
    charts = {chart["metricKey"]: chart["metricSectionId"] for chart in state["compareRunCharts"]}
    assert set(charts.values()) == sections == set(SECTIONS)
    assert state["columnOrder"] == state["selectedColumns"]
    assert state["columnOrder"][0] == f"tags.`{names.TAG_COLLAPSE}`"
    known = {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}
    assert charts.keys() <= known
    assert {one.partition("`")[2][:-1] for one in state["selectedColumns"]} - known == {"objective/max_beta"}
    assert names.TAG_KIND in tags[TAG_NOTE]


def test_what_somebody_has_changed_stays(store, open_run):
    client = MlflowClient(store)
    made = client.create_experiment("seqsetvae", tags={TAG_NOTE: "ours"})
    client.set_experiment_tag(made, TAG_VIEW, "mine")
    with open_run(store) as run:
        pass
    tags = client.get_experiment(made).tags
    assert run.experiment_id == made
    assert (tags[TAG_NOTE], tags[TAG_VIEW], tags["mlflow.experimentKind"]) == (
        "ours",
        "mine",
        "custom_model_development",
    )


@pytest.mark.parametrize(("width", "shown"), [(1400, (THUMBNAIL_WIDTH, 400)), (300, (300, 1000))])
def test_a_thumbnail_keeps_its_shape(width, shown):
    content = io.BytesIO()
    Image.new("RGB", (width, 1000)).save(content, "png")
    assert Image.open(io.BytesIO(thumbnail(content.getvalue()))).size == shown
