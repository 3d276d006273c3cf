"""Turns what goes wrong in a torchvision download into one message with a way round."""

from __future__ import annotations

import http.client
import socket
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

from ibray.errors import UserError

TIMEOUT = 60.0  # seconds without a byte; torchvision sets none and would wait for minutes behind a firewall


@contextmanager
def downloading(name: str) -> Iterator[None]:
    """Wraps the download of dataset ``name``; raises UserError when it fails, whatever the cause."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    # URLError and a full disk are OSError; torchvision reports a wrong checksum as RuntimeError.
    except (
        OSError, EOFError, RuntimeError, http.client.HTTPException, tarfile.TarError, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        problem = " ".join(f"{type(error).__name__}: {error}".split())  # some of torchvision's span several lines
        raise UserError(
            f"could not download dataset '{name}' ({problem}). On a machine without network, bring it as a "
            f"file with uint8 arrays train_x, test_x (N,H,W,C) and labels train_y, test_y: "
            f"ibray data import {name} FILE.npz"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
