"""A finetuned model as an ONNX graph: raw values in, answers out, for any number of stays, sets and events."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqsetvae.batch import EventBatch
from seqsetvae.data.packed import Packed
from seqsetvae.errors import InputError, RunFailure
from seqsetvae.model.history import CausalHistory
from seqsetvae.model.vae import SeqSetVAE
from seqsetvae.training.finetuning.mortality import RiskModel

INPUTS = ("variable", "value", "set", "minute", "subject")
"""Of N events: row of the variable, value in its unit, number of the set, ascending. Of S sets: minutes since the first event of the stay,
number of the subject, ascending. Each counts from 0."""
OUTPUT = "answer"
CLOSE = 1e-5
"""How near answers of the graph must be to those of the model."""


class Graph(nn.Module):
    """What is exported: scaling, encoder, history, head, recalibration, answer."""

    center_V: Tensor
    inverse_spread_V: Tensor

    def __init__(self, model: RiskModel):
        super().__init__()
        self.net, self.kind = model.net, model.kind
        vocabulary = model.pretrained.vocabulary
        self.register_buffer("center_V", torch.from_numpy(vocabulary.center_V.astype(np.float32)))
        self.register_buffer("inverse_spread_V", torch.from_numpy((1.0 / vocabulary.spread_V).astype(np.float32)))

    def forward(
        self, variable_N: Tensor, value_N: Tensor, set_N: Tensor, minute_S: Tensor, subject_S: Tensor, stays_B: Tensor
    ) -> Tensor:
        scaled_N = torch.asinh((value_N - self.center_V[variable_N]) * self.inverse_spread_V[variable_N])
        nothing_B = torch.zeros_like(stays_B)
        batch = EventBatch(
            variable_N=variable_N,
            value_N=scaled_N,
            set_N=set_N,
            minute_S=minute_S,
            subject_S=subject_S,
            position_S=torch.zeros_like(subject_S),
            label_B=nothing_B.to(scaled_N.dtype),
            row_B=nothing_B,
            first_slot_B=nothing_B,
            grid=((1, 1),),
        )
        return self.kind.answer(self.net(batch))


@dataclass(frozen=True)
class OnnxModel:
    """What was made."""

    content: bytes
    farthest: float
    """Greatest distance of its answers from the model's on stays that were made up."""


def to_onnx(model: RiskModel) -> OnnxModel:
    """The graph, compared with the model on made-up stays of other numbers than it was traced with.

    Raises:
        InputError: the model has something that the graph cannot have.
        RunFailure: its answers are not those of the model.
    """
    import onnxruntime

    if model.pretrained.vocabulary.bare_V is not None and model.pretrained.vocabulary.bare_V.any():
        raise InputError("A model of events without a number cannot be exported: ONNX gets a value for each event.")
    graph = Graph(model).eval()
    dims = {name: torch.export.Dim(name, min=2) for name in ("events", "sets", "subjects")}
    shapes = ({0: dims["events"]},) * 3 + ({0: dims["sets"]},) * 2 + ({0: dims["subjects"]},)
    with attention_of_pairs(model), quiet():
        program = torch.onnx.export(
            graph,
            tuple(torch.from_numpy(x) for x in inputs_of(made_up(model, 5, seed=0)).values()),
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=[*INPUTS, "stays"],
            output_names=[OUTPUT],
            verbose=False,
        )
    assert program is not None
    said = {
        "variables": list(model.pretrained.vocabulary.names),
        "columns": list(model.kind.columns),
        "kind": model.kind.name,
    }
    program.model.metadata_props.update({key: json.dumps(value) for key, value in said.items()})
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    farthest = 0.0
    for seed, stays in ((1, 2), (2, 9), (3, 40)):
        packed = made_up(model, stays, seed)
        [found] = session.run(None, inputs_of(packed))
        farthest = max(farthest, float(np.abs(found - model.predict(packed)).max()))
    if not farthest <= CLOSE:
        raise RunFailure(f"The graph's answers are {farthest:.1e} from the model's. Nothing was written.")
    return OnnxModel(content, farthest)


def inputs_of(packed: Packed) -> dict[str, NDArray[np.generic]]:
    """What the graph takes, of stays whose events all have a number."""
    return {
        "variable": packed.variable_N.astype(np.int64),
        "value": packed.value_N.astype(np.float32),
        "set": packed.set_N,
        "minute": packed.minute_S.astype(np.float64),
        "subject": packed.subject_S,
        "stays": np.arange(packed.n_subjects),
    }


def made_up(model: RiskModel, stays: int, seed: int) -> Packed:
    """Stays of some sets, with values as the training data have them."""
    dice, vocabulary = np.random.default_rng(seed), model.pretrained.vocabulary
    first_set = np.append(0, np.cumsum(dice.integers(1, 12, stays)))
    sizes_S = dice.integers(1, min(6, len(vocabulary)) + 1, first_set[-1])
    variable_N = np.concatenate([np.sort(dice.permutation(len(vocabulary))[:size]) for size in sizes_S])
    value_N = vocabulary.center_V[variable_N] + vocabulary.spread_V[variable_N] * dice.normal(size=len(variable_N))
    minute_S = np.concatenate([np.cumsum(dice.integers(1, 90, sets)) - 1.0 for sets in np.diff(first_set)])
    return Packed(
        np.arange(stays).astype(str).astype(object),
        np.full(stays, np.nan, dtype=np.float32),
        first_set.astype(np.int32),
        np.append(0, np.cumsum(sizes_S)).astype(np.int32),
        minute_S,
        variable_N.astype(np.int32),
        value_N.astype(np.float32),
    )


@contextlib.contextmanager
def attention_of_pairs(model: RiskModel) -> Iterator[None]:
    """For the time of an export the histories attend in operations that every runtime has."""
    histories = [cast(CausalHistory, cast(SeqSetVAE, vae).history) for vae in model.net.backbones]
    for history in histories:
        history.of_pairs = True
    try:
        yield
    finally:
        for history in histories:
            history.of_pairs = False


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The exporter tells of every pass and of libraries that it does without."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(None):
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
