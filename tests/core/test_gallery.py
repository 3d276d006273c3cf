"""The picture of the attacks shows the right pixels beside the right numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ibray import gallery as module
from ibray.attacks import ATTACKS, get_attack
from ibray.datasets import ImageSet
from ibray.errors import UserError
from ibray.gallery import as_text, gallery, presets
from ibray.perceptual import Metric, measure

SIDE, SCALE = 16, 6  # pixels of an image; each is a square of so many pixels in the picture
COLOURS = {0: (1, 2, 3), 1: (250, 240, 245), 2: (235, 252, 241)}  # of all images of a class


def dataset(labels=(0, 1, 1, 2, 2, 2)) -> ImageSet:
    """Flat images that can be told apart in a picture by their colour."""
    y = np.array(labels)
    x = np.array([COLOURS[label] for label in labels], np.uint8)[:, :, None, None].repeat(SIDE, 2).repeat(SIDE, 3)
    return ImageSet(
        name="flat", train_x=x, train_y=y, test_x=x, test_y=y, class_names=("zero", "one", "two"), checksum=""
    )


def count(picture, colour) -> int:
    return int((np.asarray(picture) == colour).all(axis=-1).sum())


def test_a_row_has_each_class_clean_triggered_and_ten_times_the_difference():
    # A white patch of 3 x 3 pixels.
    (one, rows), (two, _) = (gallery(dataset(), [("badnets", "original")] * n) for n in (1, 2))
    assert [(row.attack, row.preset, row.misfit) for row in rows] == [("badnets", "original", None)]
    for colour in (COLOURS[1], COLOURS[2]):
        assert count(one, colour) == (SIDE**2 + SIDE**2 - 9) * SCALE**2
        difference = tuple(min(255, 10 * (255 - value)) for value in colour)
        assert count(one, difference) == 9 * SCALE**2
        assert count(two, colour) == 2 * count(one, colour)
    assert count(one, COLOURS[0]) == 0
    assert one.getpixel((0, 0)) == one.getpixel((one.width - 1, one.height - 1)) == (255, 255, 255)


def test_the_numbers_are_of_the_images_of_other_classes():
    data = dataset()
    _, (row,) = gallery(data, [("blend", "paper")])
    images = data.tensors("test")[0][1:]
    assert list(row.metrics) == measure(images, get_attack("blend").trigger(images))


def test_of_many_images_those_from_all_over_the_test_set_are_measured(monkeypatch):
    monkeypatch.setattr(module, "MEASURED", 2)
    data = dataset()
    _, (row,) = gallery(data, [("blend", "paper")])
    images = data.tensors("test")[0][[1, 5]]
    assert list(row.metrics) == measure(images, get_attack("blend").trigger(images))
    assert module.evenly(torch.arange(10), 4).tolist() == [0, 3, 6, 9]


def test_training_images_have_a_row_where_their_trigger_is_another():
    data = dataset()
    _, rows = gallery(data, [("adap_blend", "paper"), ("blend", "paper"), ("lc", "paper")])
    uses = [(row.attack, row.use) for row in rows]
    assert uses == [("adap_blend", "test"), ("adap_blend", "training"), ("blend", "test"), ("lc", "test"),
                    ("lc", "training")]  # fmt: skip
    images = data.tensors("test")[0][1:]
    assert list(rows[1].metrics) == measure(images, get_attack("adap_blend").trigger_in_training(images))


def test_an_attack_that_does_not_fit_has_a_reason_and_no_images():
    picture, (row,) = gallery(dataset(), [("ftrojan", "paper")])
    assert row.metrics == () and "window: 32 does not divide" in row.misfit
    assert count(picture, COLOURS[1]) == 0


def test_a_test_set_of_the_target_class_alone_is_refused():
    with pytest.raises(UserError, match="dataset 'flat': every test image is of class 0"):
        gallery(dataset([0, 0]), [("badnets", "paper")])


def test_every_attack_and_preset_is_there_unless_some_are_named():
    everything = {(name, preset) for name, entry in ATTACKS.items() for preset in entry.presets}
    assert set(presets()) == everything - {("none", "paper")}
    assert presets(["none", "none"]) == [("none", "paper")]
    with pytest.raises(UserError, match="did you mean 'badnets'"):
        presets(["badnet"])


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [("psnr", 21.176, "21.18"), ("ssim", 0.95288, "0.9529"), ("lpips", 0.0, "0.0000"), ("lpips", 2e-6, "<0.0001"),
     ("lpips", None, "-")],
)  # fmt: skip
def test_numbers_as_text(metric, value, text):
    assert as_text(Metric(metric=metric, value=value, ci_low=None, ci_high=None, n=1)) == text
