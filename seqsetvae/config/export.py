"""Settings of `export`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seqsetvae.config.require import require


@dataclass(frozen=True)
class ExportConfig:
    """A finetuned model as a file that other runtimes run."""

    model: str = "models:/seqsetvae-mortality@champion"
    """A finetuned model of the registry, or a folder with one."""
    format: Literal["onnx"] = "onnx"
    """onnx: encoder, head and scaling in one graph, of any number of stays, in float32. Needs `seqsetvae[onnx]`."""
    output: str = "model.onnx"
    """The file: .onnx."""

    def __post_init__(self) -> None:
        require(self.output.endswith(".onnx"), "export.output", self.output, "a file that ends in .onnx")
