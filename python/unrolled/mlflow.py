# SPDX-License-Identifier: MIT
"""A flavour of MLflow: log, save and load models, also as pyfunc for ``mlflow models serve`` and Spark.

Needs the extra ``mlflow``. A saved model holds the model's file as it is, or what ``Model.save`` writes; MLflow
loads it with this module and runs no code from it. Requests and rows are checked against the signature, which
is made from the model's inputs and outputs.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import unrolled
from unrolled.data.columns import ports_of
from unrolled.data.predicting import outputs_of

if TYPE_CHECKING:
    from unrolled.models import Model

FLAVOR_NAME = "unrolled"


def _import_mlflow() -> Any:
    try:
        import mlflow
        import mlflow.pyfunc
    except ImportError as error:
        raise ImportError('unrolled.mlflow needs MLflow: pip install "unrolled[mlflow]"') from error
    return mlflow


def get_default_pip_requirements() -> list[str]:
    """What an environment of a saved model needs.

    Returns
    -------
    list of str
        This package in this version, and NumPy.
    """
    return [f"unrolled=={unrolled.__version__}", f"numpy=={np.__version__}"]


def signature_of(model: Model) -> Any:
    """The signature of a model: a tensor for each input and output, by name.

    Parameters
    ----------
    model : Model

    Returns
    -------
    mlflow.models.ModelSignature
    """
    _import_mlflow()
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    def tensor(name: str, shape: tuple[int | None, ...], dtype: str) -> Any:
        return TensorSpec(np.dtype(dtype), (-1, *(-1 if size is None else size for size in shape)), name)

    inputs = [
        tensor(port.name, port.shape, symbol.dtype)
        for port, symbol in zip(ports_of(model), model.inputs, strict=True)
    ]
    outputs = [tensor(output.name, output.shape, output.dtype) for output in outputs_of(model)]
    return ModelSignature(Schema(inputs), Schema(outputs))


def save_model(
    model: Model | str | os.PathLike[str],
    path: str | os.PathLike[str],
    mlflow_model: Any = None,
    signature: Any = None,
    input_example: Any = None,
    pip_requirements: Any = None,
    extra_pip_requirements: Any = None,
    conda_env: Any = None,
    code_paths: Any = None,
    metadata: Any = None,
) -> None:
    """Save a model in MLflow's format into a folder.

    Parameters
    ----------
    model : Model or path-like
        A path: the file is copied as it is. A model is written as ``.keras``.
    path : path-like
        A folder that does not exist.
    mlflow_model : mlflow.models.Model, optional
        What this flavour is added to.
    signature : mlflow.models.ModelSignature, optional
        By default that of ``signature_of``.
    input_example, pip_requirements, extra_pip_requirements, conda_env, code_paths, metadata
        As in MLflow's own flavours.

    Raises
    ------
    UnsupportedModelError
        A model that a ``.keras`` file cannot express; give the path of its file.
    """
    mlflow = _import_mlflow()
    import yaml
    from mlflow.models import Model as MLflowModel
    from mlflow.models.model import MLMODEL_FILE_NAME
    from mlflow.models.utils import _save_example
    from mlflow.utils.environment import (
        _process_conda_env,
        _process_pip_requirements,
        _PythonEnv,
        _validate_env_arguments,
    )
    from mlflow.utils.model_utils import (
        _validate_and_copy_code_paths,
        _validate_and_prepare_target_save_path,
    )

    _validate_env_arguments(conda_env, pip_requirements, extra_pip_requirements)
    loaded = unrolled.load_model(model) if isinstance(model, str | os.PathLike) else model
    if signature is None:
        signature = signature_of(loaded)
    folder = Path(os.path.abspath(path))
    _validate_and_prepare_target_save_path(str(folder))
    code = _validate_and_copy_code_paths(code_paths, str(folder))
    data = _write_model(model, folder)

    saved = MLflowModel() if mlflow_model is None else mlflow_model
    saved.signature = signature
    if input_example is not None:
        _save_example(saved, input_example, str(folder))
    if metadata is not None:
        saved.metadata = metadata
    environment = {"conda": "conda.yaml", "virtualenv": "python_env.yaml"}
    mlflow.pyfunc.add_to_model(
        saved,
        loader_module="unrolled.mlflow",
        data=data,
        conda_env=environment["conda"],
        python_env=environment["virtualenv"],
        code=code,
    )
    saved.add_flavor(FLAVOR_NAME, unrolled_version=unrolled.__version__, data=data, code=code)
    saved.save(str(folder / MLMODEL_FILE_NAME))

    if conda_env is None:
        defaults = None if pip_requirements is not None else get_default_pip_requirements()
        conda_env, requirements, constraints = _process_pip_requirements(
            defaults, pip_requirements, extra_pip_requirements
        )
    else:
        conda_env, requirements, constraints = _process_conda_env(conda_env)
    with open(folder / environment["conda"], "w", encoding="utf-8") as file:
        yaml.safe_dump(conda_env, file, default_flow_style=False)
    if constraints:
        (folder / "constraints.txt").write_text("\n".join(constraints), encoding="utf-8")
    (folder / "requirements.txt").write_text("\n".join(requirements), encoding="utf-8")
    _PythonEnv.current().to_yaml(str(folder / environment["virtualenv"]))


def _write_model(model: Any, folder: Path) -> str:
    """The model's file in the folder; gives its name."""
    if not isinstance(model, str | os.PathLike):
        model.save(folder / "model.keras")
        return "model.keras"
    source = Path(model)
    name = f"model{''.join(source.suffixes[-1:])}"
    if source.is_dir():
        shutil.copytree(source, folder / name)
    else:
        shutil.copyfile(source, folder / name)
    return name


def log_model(
    model: Model | str | os.PathLike[str],
    name: str | None = None,
    registered_model_name: str | None = None,
    **options: Any,
) -> Any:
    """Log a model to MLflow's active run.

    Parameters
    ----------
    model : Model or path-like
        See ``save_model``.
    name : str
        What the model is called in the run.
    registered_model_name : str, optional
        Also register it under this name.
    **options
        Those of ``save_model`` and of ``mlflow.models.Model.log``.

    Returns
    -------
    mlflow.models.model.ModelInfo
        Its ``model_uri`` is what ``load_model`` and ``mlflow.pyfunc.load_model`` take.
    """
    _import_mlflow()
    from mlflow.models import Model as MLflowModel

    return MLflowModel.log(
        artifact_path=None,
        name=name,
        flavor=sys.modules[__name__],
        registered_model_name=registered_model_name,
        model=model,
        **options,
    )


def load_model(model_uri: str, dst_path: str | None = None) -> Model:
    """Load a model of this flavour.

    Parameters
    ----------
    model_uri : str
        A folder, ``runs:/...``, ``models:/...`` or what else MLflow takes.
    dst_path : str, optional
        Where artifacts are downloaded to.

    Returns
    -------
    unrolled.Model
    """
    _import_mlflow()
    from mlflow.tracking.artifact_utils import _download_artifact_from_uri
    from mlflow.utils.model_utils import _get_flavor_configuration

    folder = _download_artifact_from_uri(artifact_uri=model_uri, output_path=dst_path)
    found = _get_flavor_configuration(model_path=folder, flavor_name=FLAVOR_NAME)
    return unrolled.load_model(os.path.join(folder, found["data"]))


def _load_pyfunc(path: str) -> _PythonFunction:
    """What ``mlflow.pyfunc.load_model`` calls, with the path of the model's file."""
    return _PythonFunction(unrolled.load_model(path))


class _PythonFunction:
    """A model as MLflow's python_function: arrays, dicts of arrays or frames of pandas in, arrays out."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def get_raw_model(self) -> Model:
        return self._model

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        if isinstance(model_input, dict) and len(self._model.inputs) == 1:
            (model_input,) = model_input.values()
        return self._model.predict(model_input, verbose=0)
