# SPDX-License-Identifier: MIT
"""Checkpoints: the architecture that those of TensorFlow 1.12 to 1.15 carry, and what others say without one."""

from __future__ import annotations

from typing import Any

from unrolled.errors import ModelFileError
from unrolled.formats.config.json_text import parse_object
from unrolled.formats.tensorbundle.bundle import Bundle
from unrolled.formats.tensorbundle.objects import CONFIG, ObjectGraph
from unrolled.formats.tensorbundle.weights import describe_all


def read_config(bundle: Bundle) -> dict[str, Any]:
    """``class_name`` and ``config`` of the model that a checkpoint itself describes.

    Raises
    ------
    ModelFileError
        It describes none, as none since TensorFlow 2.0 does; the message lists its layers and their shapes.
    """
    graph = ObjectGraph(bundle)
    try:
        node = graph.find_model()
    except ModelFileError:
        node = 0
    key = graph.nodes[node].tensors.get(CONFIG)
    if key is None:
        raise ModelFileError(
            f"{bundle.title}: a checkpoint of weights, without the architecture: give the JSON architecture, and this "
            "as weights=, or build the model and call load_weights. It holds " + describe_all(graph, bundle)
        )
    return parse_object(bundle.text(key), f"{bundle.title}, {CONFIG}")
