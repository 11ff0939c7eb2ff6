# SPDX-License-Identifier: MIT
"""A service around models: the Open Inference Protocol over HTTP and gRPC, live sequences, a page.

Needs the extra ``serve``; see docs/serving.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from unrolled.serving.options import Options

if TYPE_CHECKING:
    from unrolled.models import Model

__all__ = ["Options", "serve"]


def serve(models: Mapping[str, Model], options: Options | None = None) -> int:
    """Serve models until SIGTERM or SIGINT; requests that are under way are answered first.

    Call it from the main thread, before the process has other threads where there are several workers.

    Parameters
    ----------
    models : mapping of str to Model
        By the name that clients use. Their weights are packed before workers are forked, so that the workers
        share them.
    options : Options, optional
        Addresses and limits.

    Returns
    -------
    int
        0 after a signal, 1 where workers die as soon as they start.

    Raises
    ------
    ImportError
        The extra ``serve`` is not installed.
    OSError
        An address is taken, or the file of API keys cannot be read.
    ValueError
        A model's name or the keys are unfit, or a model does not run.
    """
    from unrolled.serving.workers import run

    return run(models, options or Options())
