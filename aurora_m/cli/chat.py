"""Talk to a model in the one chat form it was tuned on."""

import math
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import Tokenizer

from aurora_m.core.chat import INSTRUCTION, render
from aurora_m.core.ends import Ends, ends_of
from aurora_m.core.errors import RecipeError
from aurora_m.core.log import Log
from aurora_m.core.run import check_bytes
from aurora_m.core.step import Runtime
from aurora_m.core.store import Store
from aurora_m.tokens.tokenizer import decode_after, encode_within, open_tokenizer


@dataclass(frozen=True)
class Chat:
    """A model that answers one instruction at a time."""

    model: Any
    tokenizer: Tokenizer
    ends: Ends
    max_new: int
    temperature: float

    @classmethod
    def open(cls, name: str, runtime: Runtime, max_new: int, temperature: float) -> "Chat":
        """Load a model by its name in the store, or from a folder.

        errors  RecipeError if it is no model, or cannot do so; DataError if a folder's model is not whole
        """
        if not 0 <= temperature < math.inf:
            raise RecipeError(f"`{temperature:g}` is no temperature", at="--temperature", hint="write 0 or more")
        if max_new < 1:
            raise RecipeError(f"`{max_new}` is too small", at="--max-new-tokens", hint="write a positive number")
        own = Path(name).is_dir()
        folder = Path(name) if own else Store(runtime.store).named(name).path
        if not all((folder / file).exists() for file in ("config.json", "tokenizer.json")):
            raise RecipeError(
                f"`{name}` is no model", at=str(folder), hint="name a model, such as tiny/release or tiny/base"
            )
        if not own:
            check_bytes(folder, Log())
        ends = ends_of(folder)
        from aurora_m.model.load import device_of, positions  # torch takes seconds: check before

        model = _model(folder, own).to(device_of(runtime)).eval()
        if max_new >= positions(model):
            raise RecipeError(
                f"{max_new} new tokens leave no room for a prompt",
                at="--max-new-tokens",
                hint=f"the model has {positions(model)} positions: write less than that",
            )
        return cls(model, open_tokenizer(folder), ends, max_new, temperature)

    def answer(self, instruction: str) -> str:
        """The model's response, up to an instruction of its own. RecipeError if the prompt is no text."""
        _check_text(instruction)
        from aurora_m.model.generate import Sampling, generate

        prompt = [self.ends.start, *self.tokenizer.encode(render(instruction, ""), add_special_tokens=False).ids]
        stop = encode_within(self.tokenizer, INSTRUCTION.strip())
        new = generate(
            self.model,
            [prompt],
            max_new=self.max_new,
            ends=self.ends.stops,
            stop=[stop],
            sampling=Sampling(self.temperature),
        )
        return decode_after(self.tokenizer, prompt, [*prompt, *new[0]]).split(INSTRUCTION.strip())[0].strip()


def _model(folder: Path, own: bool) -> Any:
    """The model of a folder; one of the user's own must pass as a base does. DataError if it is not whole."""
    from aurora_m.model.folder import check_files
    from aurora_m.model.load import load_model
    from aurora_m.model.weights import check_forward, load_base

    if own:
        check_files(folder, str(folder))
        with TemporaryDirectory() as scratch:
            return load_base(folder, Path(scratch), str(folder), Log().say)
    model = load_model(folder)
    check_forward(model, str(folder))
    return model


def _check_text(prompt: str) -> None:
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        what, hint = "the prompt is not valid utf-8", "write it in utf-8"
        raise RecipeError(what, at=f"character {error.start + 1}", hint=hint) from None
