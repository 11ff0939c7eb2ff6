# SPDX-License-Identifier: MIT
"""Which names of a model users see, and what is said of Keras's names that cannot be here."""

from __future__ import annotations

# What authors of layers use and override, in ``layers/base.py``; tab completion leaves it out.
OF_AUTHORS = frozenset(
    {
        "add_weight", "build_weights", "built_shape", "check_text", "compile_stream", "facts", "has_int8", "in_keras_3", "keras_versions", "mask_rule",
        "old_mask_rule", "reads_text", "unused_config", "vocabularies", "call_arguments", "check_built", "check_call", "check_input_shape",
        "check_training", "class_name", "compile_plan", "compiled_for", "config_class_name", "config_keys",
        "config_reader", "declared_input_shape", "describe_output", "ensure_built", "expect_size",
        "find_stream_obstacle", "functional_class", "graph_nodes", "holders", "ignored_config",
        "ignored_keys", "input_dtype", "input_ranks", "input_shapes", "is_operation", "keeps_any_attribute",
        "lower", "lower_call", "lower_stream", "lower_whole", "min_rank", "needs_timesteps", "nodes",
        "output_dtype", "output_masks", "own_variables", "refuse_stream", "semantics", "semantics_config",
        "serialized_as", "stream_obstacle", "sublayers", "summary_layers", "takes_id_sequences", "tracked",
        "training_effect", "walk",
    }
)  # fmt: skip

TRAINING = (
    "compile", "compile_from_config", "compiled", "fit", "train_on_batch", "test_on_batch", "train_step",
    "test_step", "optimizer", "loss", "metrics", "metrics_names", "add_loss", "add_metric", "losses",
    "fit_generator", "get_compile_config",
)  # fmt: skip
REASONS = {
    **dict.fromkeys(
        TRAINING,
        "unrolled runs trained models and trains none: train in Keras, save there, and load the file here; "
        "evaluate(x, y, loss=..., metrics=[...]) compares predictions with labels",
    ),
    **dict.fromkeys(
        ("predict_generator", "evaluate_generator", "predict_step", "make_predict_function"),
        "predict(x) takes its place",
    ),
    "call": "call the model itself, model(x)",
    "get_layer_output": "use Model(model.input, model.get_layer(name).output)",
}


def missing_attribute(class_name: str, name: str) -> str:
    """What the error for an attribute that a model lacks says."""
    reason = f": {REASONS[name]}" if name in REASONS else ""
    return f"{class_name!r} object has no attribute {name!r}{reason}"
