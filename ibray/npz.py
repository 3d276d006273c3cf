"""Reading .npz files that people bring: no pickle, and an error that names the file, the key and what is expected."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ibray.errors import UserError

# What NumPy and zipfile raise on damaged bytes (an encrypted or unknown compression is a RuntimeError).
_UNREADABLE = (ValueError, KeyError, EOFError, OSError, RuntimeError, zlib.error, zipfile.BadZipFile)


def read_arrays(file: Path, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays under ``keys``; others are ignored, and the zip's own checksums are verified in passing.

    Raises UserError when the file is missing, damaged or no .npz, or lacks a key.
    """
    wanted = ", ".join(keys)
    if not file.is_file():
        raise UserError(f"{file}: there is no such file; expected an .npz with the arrays {wanted}")
    try:
        archive = np.load(file, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise UserError(f"{file}: holds a single array; expected an .npz with the arrays {wanted}")
        with archive:
            missing = [key for key in keys if key not in archive.files]
            if missing:
                raise UserError(
                    f"{file}: key '{missing[0]}' is missing; expected the arrays {wanted}, "
                    f"found {', '.join(archive.files) or 'none'}"
                )
            arrays = {}
            for key in keys:
                try:
                    arrays[key] = archive[key]
                except _UNREADABLE as error:
                    raise UserError(f"{file}: key '{key}' cannot be read ({error}): the file is damaged") from error
            return arrays
    except UserError:  # a ValueError too, but said already what is wrong
        raise
    except _UNREADABLE as error:
        raise UserError(f"{file}: is not an .npz file, or is cut short; expected the arrays {wanted}") from error
