"""Models in and out: Hugging Face folders, pinned hub ids, bit for bit."""

import json
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel
from transformers.utils import logging

from aurora_m.core.canon import JSON
from aurora_m.core.ends import CONFIG, TOKENIZER, Ends, declared_ends, template_lead, with_lead
from aurora_m.core.errors import DataError, RecipeError
from aurora_m.core.faults import translated
from aurora_m.core.files import read_json, write_json
from aurora_m.core.step import Runtime, Work
from aurora_m.core.uri import pinned
from aurora_m.model.base import GGUF, base_files, base_path, json_of, positions_of
from aurora_m.model.facts import BaseFacts
from aurora_m.model.folder import check_files
from aurora_m.model.hub import download
from aurora_m.model.shape import declared, shape_of
from aurora_m.model.tokenizer import check_embeddings, copy_tokenizer, fit_class
from aurora_m.model.weights import load_base, stored_dtype

logging.set_verbosity_error()
logging.disable_progress_bar()

GENERATION = "generation_config.json"
UNBOUND = 2**20  # positions of an architecture that has no longest row


def device_of(runtime: Runtime) -> torch.device:
    """The device to compute on, and torch's threads set for it. RecipeError if there is no such device."""
    if runtime.device == "cuda" and not torch.cuda.is_available():
        raise RecipeError("torch finds no CUDA device", at="--device cuda", hint="leave it out, or write --device cpu")
    torch.set_num_threads(runtime.threads or torch.get_num_threads())
    if runtime.device != "auto":
        return torch.device(runtime.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_model(folder: Path, device: torch.device | str = "cpu") -> PreTrainedModel:
    """Load a causal language model in float32 with the attention kernel that isolates packed documents (sdpa).

    DataError if transformers cannot: the folder may be somebody's.
    """
    hint = "take a folder with a causal language model in safetensors"
    with translated("transformers cannot load the model", str(folder), hint):
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation="sdpa",
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    model.to(torch.device(device))  # type: ignore[arg-type]  # its own annotation names the wrong argument
    return model


def positions(model: PreTrainedModel) -> int:
    """The longest row the model can read; `UNBOUND` where its config says none."""
    return positions_of(model.config.to_dict()) or UNBOUND


def save_model(model: PreTrainedModel, folder: Path, tokenizer: Path) -> None:
    """Write a folder that `transformers` loads: weights, config, and from another folder its tokenizer's files.

    What that folder says of generation is copied as it stands, even where `transformers` would refuse to write it.
    """
    generation: Any = model.generation_config
    if (tokenizer / GENERATION).exists():
        model.generation_config = GenerationConfig()
    model.save_pretrained(folder)
    model.generation_config = generation
    if tokenizer != folder:
        copy_tokenizer(tokenizer, folder)
        if (tokenizer / GENERATION).exists():
            shutil.copyfile(tokenizer / GENERATION, folder / GENERATION)
    _strip_versions(folder)


def _strip_versions(folder: Path) -> None:
    """A config that names the library's version would change the bytes without changing the model."""
    for name in ("config.json", GENERATION):
        path = folder / name
        if path.exists():
            config: dict[str, Any] = json.loads(path.read_text())
            config.pop("transformers_version", None)
            path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def parameters(model: PreTrainedModel) -> int:
    """How many weights the model has, tied ones once."""
    return sum(p.numel() for p in model.parameters())


def rows_of(model: PreTrainedModel) -> int:
    """How many ids a model can read and write."""
    layers: Any = model.get_input_embeddings(), model.get_output_embeddings()
    return min(len(layer.weight) for layer in layers)


def fetch_base(
    work: Work,
    *,
    model: str,
    revision: str,
    pin: str,
    shape: Mapping[str, JSON] | None = None,
    end_token: str = "",
) -> BaseFacts:
    """Bring the base model in: `hf:owner/name` at a pinned revision, `file:` a folder or GGUF file by the recipe, or
    `python:` a GGUF file of an installed package.

    Beside it goes ends.json: what begins and ends a document. Its tokenizer puts a lead before a text by itself, and
    its generation stops at the end.

    shape      what [base.shape] says of it; DataError if the model is of another
    end_token  that ends a document, where its files do not say it
    """
    here = {} if model.startswith("hf:") else base_files(model, work.runtime.root)
    with pinned(here, pin, model) if here else nullcontext():
        source = _folder(work, model, revision)
        check_files(source, model)
        if shape:
            _check_shape(shape, json_of(source / CONFIG, model))
        ends = declared_ends(source, end_token)
        loaded = load_base(source, work.scratch, model, work.log.say)
        check_embeddings(source, rows_of(loaded), model)
        save_model(loaded, work.out, source)
        dtype = stored_dtype(source)
    _declare_ends(work.out, ends)
    fit_class(work.out, (), model, work.log.say)
    work.log.say(f"  {ends}")
    config = AutoConfig.from_pretrained(work.out, trust_remote_code=False)
    return BaseFacts(config.model_type, parameters(loaded), revision, dtype=dtype)


def _folder(work: Work, model: str, revision: str) -> Path:
    """Where a base's files lie, fetched or unpacked into the scratch folder if need be."""
    kind, _, name = model.partition(":")
    if kind == "hf":
        download(name, revision, work.scratch / "hub")
        source = work.scratch / "hub"
    else:
        source = base_path(model, work.runtime.root)
        if name.endswith(GGUF):
            from aurora_m.model.gguf import unpack

            (work.scratch / "gguf").mkdir(exist_ok=True)
            unpack(source, work.scratch / "gguf", model)
            source = work.scratch / "gguf"
    if not (source / "config.json").exists():
        raise DataError(
            "no config.json in the base model's folder", at=model, hint="give a folder saved by transformers"
        )
    if not (source / "tokenizer.json").exists():
        raise DataError(
            "no tokenizer.json in the base model's folder", at=model, hint="save a fast tokenizer beside the weights"
        )
    return source


def _declare_ends(folder: Path, ends: Ends) -> None:
    """Let a base's folder say what begins and ends a document: ends.json, its tokenizer, and its generation."""
    ends.write(folder)
    tokenizer = read_json(folder / TOKENIZER)
    if ends.lead and template_lead(tokenizer) != [ends.lead.id]:
        write_json(folder / TOKENIZER, with_lead(tokenizer, ends.lead))
    generation: dict[str, Any] = read_json(folder / GENERATION) if (folder / GENERATION).exists() else {}
    listed = generation.get("eos_token_id")
    if ends.end.id not in (listed if isinstance(listed, list) else [listed]):
        generation["eos_token_id"] = ends.stops if ends.turn_ends else ends.end.id
        write_json(folder / GENERATION, generation)


def _check_shape(table: Mapping[str, JSON], config: dict[str, Any]) -> None:
    shape, wanted = shape_of(config), declared(table)
    if shape is None:
        what = f"the base is a `{config.get('model_type')}`, whose shape Aurora does not know"
        raise DataError(what, at="base.shape", hint="leave the table out")
    for name, value in asdict(wanted).items():
        there = getattr(shape, name)
        if there != value:
            what = f"the base has {name} = {json.dumps(there)}, and the recipe says {json.dumps(value)}"
            raise DataError(what, at="base.shape", hint="correct the table, or leave it out")
