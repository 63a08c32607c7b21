"""Train a small CNN on scikit-learn's real handwritten digits: seconds on one core, always the same result.

Writes, beside this file, what the archive is made of:
    digits.pt            the weights (a state dict)
    index_to_name.json   class index → name
    sample.json          one digit that the network has not seen: the warm-up input, and what the demo posts
    expected.json        what that digit really is
"""

import json
from pathlib import Path

import torch
from model import DigitNet
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

HERE = Path(__file__).resolve().parent
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def split() -> list[torch.Tensor]:
    """Training images, held-out images, training labels, held-out labels: 1437 and 360 of them."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target)
    return train_test_split(images, labels, test_size=0.2, random_state=0, stratify=labels)


def train(images: torch.Tensor, labels: torch.Tensor, epochs: int = 20) -> DigitNet:
    model = DigitNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
    return model.eval()


def picture(image: torch.Tensor) -> str:
    """{"pixels": …} with one row of the image a line, so that a person sees the digit too."""
    rows = [f"  {json.dumps([int(value) for value in row])}" for row in (image[0] * 16).tolist()]
    return '{"pixels": [\n' + ",\n".join(rows) + "\n]}\n"


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    train_images, test_images, train_labels, test_labels = split()
    model = train(train_images, train_labels)
    with torch.inference_mode():
        accuracy = (model(test_images).argmax(1) == test_labels).float().mean().item()
    torch.save(model.state_dict(), HERE / "digits.pt")
    index_to_name = {str(digit): name for digit, name in enumerate(NAMES)}
    (HERE / "index_to_name.json").write_text(json.dumps(index_to_name, indent=2) + "\n")
    (HERE / "sample.json").write_text(picture(test_images[0]))
    truth = int(test_labels[0])
    (HERE / "expected.json").write_text(json.dumps({"digit": truth}) + "\n")
    print(f"digits.pt: {accuracy:.1%} of {len(test_labels)} held-out digits right; sample.json is a {truth}")


if __name__ == "__main__":
    main()
