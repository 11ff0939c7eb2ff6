# SPDX-License-Identifier: MIT
"""Predictions of many rows: on one machine, and in the workers of Dask, Ray, Spark, polars or DuckDB."""

from unrolled.batch.files import predict_files
from unrolled.batch.predictor import Predictor

__all__ = ["Predictor", "predict_files"]
