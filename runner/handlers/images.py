"""Pictures → tensors with Pillow and torch alone, value for value what torchvision's transforms make of them.

Rules of the room
1. Every step is a callable of one argument, so a handler may mix these with torchvision's own in one `Steps`.
2. Sizes and edges are rounded as torchvision rounds them: the longer side down, the crop's corner to even.
3. A picture keeps the mode of its file until a step changes it: a handler for digits wants its one grey channel.
4. Pillow is imported when a picture is opened, not before: a server without pictures does not need it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy
import torch

from archiver.errors import EXTRAS
from runner.handlers.errors import BadRequest, CannotLoad

if TYPE_CHECKING:
    from PIL.Image import Image

#: Mean and standard deviation of ImageNet's channels, which pretrained vision models expect.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Steps:
    """Transforms one after the other; `transforms` may be changed, as in torchvision's Compose."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image


class Resize:
    """The shorter side becomes `size` pixels; bilinear with antialiasing."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, image: Image) -> Image:
        from PIL.Image import Resampling

        width, height = image.size
        short, long = sorted((width, height))
        if short == self.size:
            return image
        longer = int(self.size * long / short)
        return image.resize((self.size, longer) if width <= height else (longer, self.size), Resampling.BILINEAR)


class CenterCrop:
    """The middle `size` × `size` pixels; what a smaller picture lacks is black."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, image: Image) -> Image:
        left, top = (_corner(side, self.size) for side in image.size)
        # Pillow fills what lies outside of the picture with zeros, which is torchvision's padding.
        return image.crop((left, top, left + self.size, top + self.size))


def _corner(side: int, size: int) -> int:
    # torchvision pads by the floor of half of what is missing, and crops at half of the rest rounded to even.
    return -((size - side) // 2) if side < size else round((side - size) / 2)


def to_rgb(image: Image) -> Image:
    """Three channels: grey ones repeated, palettes looked up, transparency left out."""
    return image if image.mode == "RGB" else image.convert("RGB")


#: Modes whose pixels are no bytes; torchvision leaves their values as they are.
_WIDE = {"I": numpy.int32, "I;16": numpy.uint16, "F": numpy.float32}


def to_tensor(image: Image) -> torch.Tensor:
    """Channels × height × width, float32 in [0, 1]; of 16 and 32 bits a channel, the values themselves."""
    pixels = torch.from_numpy(numpy.array(image, dtype=_WIDE.get(image.mode, numpy.uint8)))
    pixels = pixels.unsqueeze(-1) if pixels.dim() == 2 else pixels
    channels = pixels.permute(2, 0, 1).contiguous()
    if image.mode in _WIDE:
        return channels
    return channels.to(torch.float32).div(1 if image.mode == "1" else 255)


class Normalize:
    """Each channel minus its mean, divided by its standard deviation."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean = torch.tensor(mean).view(-1, 1, 1)
        self.std = torch.tensor(std).view(-1, 1, 1)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return (image - self.mean) / self.std


def imagenet() -> Steps:
    """What TorchServe's image handlers do: shorter side 256, middle 224 × 224, ImageNet's normalisation. Theirs fail
    on pictures that are not RGB."""
    return Steps([to_rgb, Resize(256), CenterCrop(224), to_tensor, Normalize(*IMAGENET)])


def require_pillow(who: str) -> None:
    """Raises CannotLoad with the command that mends it when Pillow is not installed."""
    if find_spec("PIL") is None:
        raise CannotLoad(f"{who} needs Pillow, which is not installed: pip install 'torch-archive[{EXTRAS['PIL']}]'")


def open_image(content: bytes | bytearray | memoryview, *, limit_pixels: bool = True) -> Image:
    """The picture in a file's bytes, in its own mode. `limit_pixels`: refuse more pixels than Pillow thinks sane, as
    `limit_max_image_pixels` says. Raises BadRequest for what is no picture, or too large."""
    require_pillow("a picture")
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = _PILLOWS_LIMIT if limit_pixels else None
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
        return image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadRequest(f"the input is not a picture that can be read: {_first_line(error)}") from error


#: Pixels; Pillow's own default, a quarter of a gigabyte of three bytes each. Beyond twice this it refuses.
_PILLOWS_LIMIT = int(1024 * 1024 * 1024 // 4 // 3)


def _first_line(error: Exception) -> str:
    # Pillow names the BytesIO object by its address, which is of no use to a client.
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "unknown format" if "cannot identify" in text else text
