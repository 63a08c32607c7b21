from __future__ import annotations

import io

import numpy
import pytest
import torch
from PIL import Image
from torch.nn import functional

from runner.handlers import images
from runner.handlers.errors import BadRequest


def gradient(width: int, height: int) -> Image.Image:
    pixels = bytes(value % 256 for y in range(height) for x in range(width) for value in (x * 3, y * 5, x + y))
    return Image.frombytes("RGB", (width, height), pixels)


def noise(width: int, height: int) -> Image.Image:
    """Smooth in parts and rough in others, as photographs are."""
    random = numpy.random.default_rng(width * height)
    rough = random.integers(0, 80, (height, width, 3))
    return Image.fromarray((numpy.asarray(gradient(width, height)) // 2 + rough).astype(numpy.uint8))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("size", "expected"),
    [((400, 300), (341, 256)), ((300, 401), (256, 342)), ((256, 999), (256, 999)), ((10, 10), (256, 256))],
)
def test_the_shorter_side_is_resized_and_the_longer_one_rounded_down(size, expected):
    assert images.Resize(256)(gradient(*size)).size == expected


def test_resizing_antialiases():
    stripes = Image.new("L", (8, 2))
    stripes.putdata([255, 0] * 8)

    # Every target pixel averages both colours; without antialiasing some would be pure.
    assert all(100 < value < 156 for value in images.Resize(1)(stripes).tobytes())


@pytest.mark.parametrize(
    ("side", "size", "corner"),
    [(229, 224, 2), (227, 224, 2), (225, 224, 0), (224, 224, 0), (221, 224, -1), (220, 224, -2)],
)
def test_the_crop_starts_where_torchvision_starts_it(side, size, corner):
    assert images._corner(side, size) == corner


def test_a_picture_smaller_than_the_crop_is_padded_with_black():
    cropped = images.CenterCrop(4)(Image.new("L", (1, 6), 9))

    assert list(cropped.tobytes()) == [0, 9, 0, 0] * 4


def test_a_tensor_holds_channels_first_between_zero_and_one():
    tensor = images.to_tensor(Image.frombytes("RGB", (2, 1), bytes([0, 51, 255, 102, 153, 204])))

    expected = torch.tensor([[[0.0, 0.4]], [[0.2, 0.6]], [[1.0, 0.8]]])
    torch.testing.assert_close(tensor, expected)
    assert images.to_tensor(Image.new("L", (2, 3), 255)).shape == (1, 3, 2)


def test_normalising_is_per_channel():
    normalised = images.Normalize(*images.IMAGENET)(torch.ones(3, 1, 1)).flatten()

    torch.testing.assert_close(normalised, torch.tensor([2.2489083, 2.4285715, 2.64]))


def test_imagenets_steps_give_one_shape():
    assert images.imagenet()(gradient(300, 500)).shape == (3, 224, 224)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1"])
def test_pictures_keep_their_mode_until_a_step_makes_them_rgb(mode):
    opened = images.open_image(png(gradient(3, 2).convert(mode)))

    assert opened.mode == mode
    assert images.to_rgb(opened).mode == "RGB"
    assert images.imagenet()(opened).shape == (3, 224, 224)


@pytest.mark.parametrize(
    ("mode", "value", "expected"), [("1", 1, 1.0), ("L", 51, 0.2), ("I", 70000, 70000), ("F", 0.5, 0.5)]
)
def test_only_bytes_are_brought_between_zero_and_one(mode, value, expected):
    assert images.to_tensor(Image.new(mode, (2, 1), value)).tolist() == [[[pytest.approx(expected)] * 2]]


def as_torchvision_documents_it(picture: Image.Image) -> torch.Tensor:
    """Resize, CenterCrop, ToTensor and Normalize on arrays, by torchvision's description and without Pillow: the
    resampling is torch's own antialiased one, which torchvision uses for pictures that are tensors."""
    pixels = numpy.asarray(picture, dtype=numpy.float32)
    if pixels.ndim == 2:
        pixels = numpy.stack([pixels] * 3, axis=2)
    pixels = pixels[:, :, :3]  # without the transparency
    height, width = pixels.shape[:2]
    scaled = [256, int(256 * width / height)] if height <= width else [int(256 * height / width), 256]
    batch = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0)
    resized = functional.interpolate(batch, scaled, mode="bilinear", antialias=True)[0].round().clamp(0, 255)
    top, left = (round((side - 224) / 2) for side in scaled)
    cropped = resized[:, top : top + 224, left : left + 224] / 255
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (cropped - mean) / std


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("size", [(640, 480), (333, 517), (256, 256), (257, 991), (1200, 301), (31, 47), (224, 5)])
def test_imagenets_steps_are_torchvisions_within_rounding(size, mode):
    picture = noise(*size).convert(mode)

    differences = (images.imagenet()(picture) - as_torchvision_documents_it(picture)).abs()

    # One of 255 levels, in the narrowest channel's standard deviations; Pillow rounds after each of two passes.
    assert differences.max() < 1.01 / 255 / 0.224
    assert differences.mean() < 0.3 / 255 / 0.224


@pytest.mark.parametrize("size", [(3, 9), (9, 3), (4, 5), (2, 2), (7, 6), (5, 5)])
def test_a_crop_is_torchvisions_pixel_for_pixel(size):
    picture = noise(*size)
    pixels = numpy.asarray(picture)
    height, width = pixels.shape[:2]
    # What is missing is black, the smaller half of it first; then the middle, its corner rounded to even.
    missing = [(max(0, 5 - side) // 2, (max(0, 5 - side) + 1) // 2) for side in (height, width)]
    padded = numpy.pad(pixels, [*missing, (0, 0)])
    top, left = (round((side - 5) / 2) for side in padded.shape[:2])

    assert (numpy.asarray(images.CenterCrop(5)(picture)) == padded[top : top + 5, left : left + 5]).all()


@pytest.mark.parametrize("content", [b"no picture", b"", png(gradient(40, 40))[:60]])
def test_what_is_no_picture_is_a_bad_request(content):
    with pytest.raises(BadRequest, match="the input is not a picture that can be read"):
        images.open_image(content)


def test_too_many_pixels_are_refused_unless_allowed(monkeypatch):
    monkeypatch.setattr(images, "_PILLOWS_LIMIT", 10)

    with pytest.raises(BadRequest, match="could be decompression bomb"):
        images.open_image(png(gradient(5, 5)))
    assert images.open_image(png(gradient(5, 5)), limit_pixels=False).size == (5, 5)


def test_without_pillow_the_command_that_mends_it_is_named(monkeypatch):
    monkeypatch.setattr(images, "find_spec", lambda name: None)

    with pytest.raises(
        Exception, match=r"needs Pillow, which is not installed: pip install 'torch-archive\[vision\]'"
    ):
        images.require_pillow("ImageClassifier")
