"""torchvision imports beside any torch, as often as one likes, also after a failed import."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CODE = """
from ibray.compat import import_torchvision
{before}
assert import_torchvision("datasets").CIFAR10 is import_torchvision("datasets").CIFAR10
assert import_torchvision().__name__ == "torchvision"
import torchvision.transforms, torchvision.models, torch
assert torch.ops.torchvision.nms
"""


@pytest.mark.parametrize("before", ["", "try:\n    import torchvision\nexcept RuntimeError:\n    pass"])
def test_import_torchvision(before):
    subprocess.run([sys.executable, "-c", CODE.format(before=before)], cwd=ROOT, check=True)
