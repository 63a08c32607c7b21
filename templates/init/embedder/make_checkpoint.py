"""Writes embedder.pt. Put your own weights in its place.

These are not trained: with a random vector for each piece, texts that share pieces come out near each other.
That is enough to try the server with; it knows nothing of meaning.
"""

from pathlib import Path

import torch
from model import Embedder

HERE = Path(__file__).resolve().parent


def main() -> None:
    torch.manual_seed(0)
    model = Embedder()
    torch.save(model.state_dict(), HERE / "embedder.pt")
    print(f"embedder.pt: {sum(value.numel() for value in model.parameters())} numbers")


if __name__ == "__main__":
    main()
