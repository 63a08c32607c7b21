"""Text → the numbers of its pieces; the same for training and for serving."""

import torch


def pieces_of(text: str) -> list[str]:
    """Overlapping runs of three letters."""
    padded = f" {' '.join(text.lower().split())} "
    return [padded[start : start + 3] for start in range(len(padded) - 2)]


def encode(text: str, vocabulary: dict[str, int]) -> torch.Tensor:
    """Numbers of the pieces that the vocabulary has; [0], which is padding, when it has none of them."""
    return torch.tensor([vocabulary[piece] for piece in pieces_of(text) if piece in vocabulary] or [0])
