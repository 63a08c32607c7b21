"""Writes classifier.pt and index_to_name.json: a small network that names colours, trained here in seconds.

Put your own training in its place.
"""

import json
from pathlib import Path

import torch
from model import Classifier
from torch import nn

HERE = Path(__file__).resolve().parent
COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "red": (255, 0, 0),
    "green": (0, 160, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
}


def main() -> None:
    torch.manual_seed(0)
    references = torch.tensor(list(COLOURS.values())) / 255
    colours = torch.rand(4096, 3)
    nearest = torch.cdist(colours, references).argmin(1)
    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(colours), nearest).backward()
        optimizer.step()
    right = (model(colours).argmax(1) == nearest).float().mean()
    torch.save(model.state_dict(), HERE / "classifier.pt")
    names = {str(index): name for index, name in enumerate(COLOURS)}
    (HERE / "index_to_name.json").write_text(json.dumps(names, indent=2) + "\n")
    print(f"classifier.pt: {right:.0%} of {len(colours)} colours named right")


if __name__ == "__main__":
    main()
