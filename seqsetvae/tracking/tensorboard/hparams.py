"""Settings of an older training: TensorBoard's hparams plugin, and the hparams.yaml that Lightning writes beside the event files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from seqsetvae.errors import InputError

HPARAMS_FILE = "hparams.yaml"


class _PlainLoader(yaml.SafeLoader):
    """Builds no Python object: of one, which Lightning may have written, it keeps what plain values it holds."""


def _plain(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        # A function or class is an empty scalar whose tag names it, as in `name:torch.nn.GELU`.
        return loader.construct_scalar(node) or suffix.partition(":")[2]
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True) if isinstance(node, yaml.MappingNode) else suffix


_PlainLoader.add_multi_constructor("tag:yaml.org,2002:python/", _plain)


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings of an hparams.yaml; none where there is no such file, or nothing in it.

    Raises :class:`InputError` where it is no YAML of settings.
    """
    if not path.is_file():
        return {}
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), _PlainLoader)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}. Mend it, or move it away.") from error
    if not isinstance(found, Mapping | None):
        raise InputError(f"{path} holds no settings, but {type(found).__name__}. Mend it, or move it away.")
    return {str(key): value for key, value in (found or {}).items()}


def plugin_settings(content: bytes) -> tuple[dict[str, Any], bool]:
    """What a record of the hparams plugin says: settings, and whether the training has failed. Lightning says so of none."""
    from tensorboard.plugins.hparams.api_pb2 import Status
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    data = HParamsPluginData.FromString(content)
    settings = {
        key: getattr(value, value.WhichOneof("kind")) if value.WhichOneof("kind") else None
        for key, value in data.session_start_info.hparams.items()
    }
    return settings, data.session_end_info.status == Status.Value("STATUS_FAILURE")
