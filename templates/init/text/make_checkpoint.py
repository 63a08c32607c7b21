"""Writes text.pt, vocabulary.json and index_to_name.json: which language is it?

Put your own training in its place.
"""

import json
from pathlib import Path

import torch
from model import TextClassifier
from pieces import encode, pieces_of
from torch import nn
from torch.nn.utils.rnn import pad_sequence

HERE = Path(__file__).resolve().parent
SENTENCES = {
    "english": [
        "the weather is lovely today and we are going for a walk",
        "she has been working on this machine since early morning",
        "where did you put the keys of the house",
        "they would rather stay at home and read a book",
        "this is the first time that I have seen the sea",
        "what would you like to drink with your dinner",
    ],
    "german": [
        "das Wetter ist heute schön und wir gehen spazieren",
        "sie arbeitet seit dem frühen Morgen an dieser Maschine",
        "wo hast du die Schlüssel vom Haus hingelegt",
        "sie möchten lieber zu Hause bleiben und ein Buch lesen",
        "ich habe zum ersten Mal das Meer gesehen",
        "was möchten Sie zum Abendessen trinken",
    ],
    "french": [
        "il fait beau aujourd'hui et nous allons nous promener",
        "elle travaille sur cette machine depuis tôt ce matin",
        "où as-tu mis les clés de la maison",
        "ils préfèrent rester chez eux et lire un livre",
        "c'est la première fois que je vois la mer",
        "que voulez-vous boire avec votre dîner",
    ],
    "spanish": [
        "hoy hace buen tiempo y vamos a dar un paseo",
        "ella trabaja en esta máquina desde la mañana temprano",
        "dónde has puesto las llaves de la casa",
        "ellos prefieren quedarse en casa y leer un libro",
        "es la primera vez que veo el mar",
        "qué quiere usted beber con la cena",
    ],
}


def write_names() -> dict[str, int]:
    """Write the two files of names and return the vocabulary: piece → number, from 1 on."""
    pieces = sorted({piece for texts in SENTENCES.values() for text in texts for piece in pieces_of(text)})
    vocabulary = {piece: number for number, piece in enumerate(pieces, start=1)}
    names = {str(index): name for index, name in enumerate(SENTENCES)}
    (HERE / "vocabulary.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (HERE / "index_to_name.json").write_text(json.dumps(names, indent=2) + "\n", encoding="utf-8")
    return vocabulary


def train(vocabulary: dict[str, int], epochs: int = 60) -> TextClassifier:
    rows = [encode(text, vocabulary) for texts in SENTENCES.values() for text in texts]
    labels = torch.tensor([index for index, texts in enumerate(SENTENCES.values()) for _ in texts])
    batch = pad_sequence(rows, batch_first=True)
    model = TextClassifier()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(epochs):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch), labels).backward()
        optimizer.step()
    return model


def main() -> None:
    torch.manual_seed(0)
    vocabulary = write_names()
    torch.save(train(vocabulary).state_dict(), HERE / "text.pt")
    print(f"text.pt: {len(SENTENCES)} languages, {len(vocabulary)} pieces")


if __name__ == "__main__":
    main()
