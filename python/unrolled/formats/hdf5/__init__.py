# SPDX-License-Identifier: MIT
"""HDF5 files, read and written without the HDF5 library."""

from __future__ import annotations

from unrolled.formats.hdf5.file import HDF5File, StoredArray
from unrolled.formats.hdf5.structures import SIGNATURE

__all__ = ["SIGNATURE", "HDF5File", "StoredArray"]
