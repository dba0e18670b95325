"""The weights of a base as it is taken: all of them its folder's, none drawn at random, and no code of its executed."""

import json
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, PreTrainedModel

from aurora_m.core.ends import CONFIG
from aurora_m.core.errors import DataError
from aurora_m.core.faults import translated
from aurora_m.model.base import json_of

WEIGHTS = "*.safetensors"
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
# What torch.compile, DistributedDataParallel, FSDP and activation checkpointing put into names.
WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
OUTERMOST = "module."
HALVES = {"BF16": "bfloat16", "F16": "float16"}  # as safetensors and torch name them
FLOATS = ("F16", "BF16", "F32", "F64")  # what weights are, as safetensors names it; float8 is quantised
ORIGINAL = "take the original model, whose weights are bf16, fp16 or fp32"
LAYER = re.compile(r"((?:.*?\.)?\d+)\.(.+)")  # of a name: the layer, and what of it
SHOWN = 3  # names in an error
ESCAPE = re.compile("\x1b\\[[0-9;]*m")
WRONG = re.compile(r"^(.+?)\s*\|\s*(?:MISMATCH|CONVERSION)\b", re.M)  # a line of transformers' report
MOST_LAYERS = 10_000


def load_base(folder: Path, scratch: Path, at: str, say: Callable[[str], None]) -> PreTrainedModel:
    """Load the model of a folder that somebody else made, in float32, and prove that its weights are the folder's.

    Names that training left wrapped are unwrapped, and weights that have no place are named, by `say`.

    errors  DataError, with `at`, if a file is damaged; if the folder needs code of its own, holds an adapter, quantised
            weights, whole layers that the model does not have, or no safetensors; if a weight is missing, of another
            shape, not what the model would use, or not finite
    """
    _check_config(folder, at)
    folder = _unwrapped(folder, scratch, at, say)
    _check_size(folder, at)
    model, info = _loaded(folder, at)
    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)} - {
        name for name, _ in model.named_parameters()
    }
    if missing := info["missing_keys"] - tied:
        what = f"the base's files lack {_listed(missing)} of its architecture"
        hint = "save the whole model again, or correct its config.json: Aurora never trains weights drawn at random"
        raise DataError(what, at=at, hint=hint)
    if info["unexpected_keys"]:
        _check_surplus(info["unexpected_keys"], folder, at)
        say(f"  {at}: {_listed(info['unexpected_keys'])} of its files have no place in the model and are left out")
    _check_values(model, folder, at)
    if double := [name for name, (kind, _) in _held(folder, at).items() if kind == "F64"]:
        say(f"  {at}: {_listed(double)} are float64 in its files, and are trained in float32")
    check_forward(model, at)
    return model


def stored_dtype(folder: Path) -> str | None:
    """The type of most of a folder's weights, if it is one of half the size of float32."""
    sizes: Counter[str] = Counter()
    for kind, size in _held(folder, str(folder)).values():
        sizes[HALVES.get(kind, "")] += size
    return next((name for name, _ in sizes.most_common(1) if name), None)


def _check_config(folder: Path, at: str) -> None:
    """DataError for what would make transformers read something else than this folder's weights."""
    config = json_of(folder / CONFIG, at)
    if "auto_map" in config and str(config.get("model_type")) not in CONFIG_MAPPING:
        what = "the base comes with Python code of its own (`auto_map`), which Aurora never runs"
        raise DataError(what, at=at, hint="take a base whose architecture transformers has itself")
    if about := config.get("quantization_config") or config.get("compression_config"):
        kind = about.get("quant_method", "unknown") if isinstance(about, dict) else "unknown"
        what = f"the base's weights are quantised ({kind}), and cannot be trained"
        raise DataError(what, at=at, hint=ORIGINAL)
    if (folder / "adapter_config.json").exists():
        what = "the base's folder holds an adapter (adapter_config.json), which may point to weights elsewhere"
        hint = "merge the adapter and save the model, or take the adapter's files out of the folder"
        raise DataError(what, at=at, hint=hint)
    if gone := sorted(name for name in {*_weight_map(folder, at).values()} if not (folder / name).is_file()):
        what = f"the base's file `{gone[0]}`, which its index names, is not there"
        raise DataError(what, at=at, hint="copy the whole folder again")
    if not [*folder.glob(WEIGHTS)]:
        what = "no .safetensors file in the base model's folder"
        hint = "save it with `model.save_pretrained(folder)`: pickled weights can run code, and are not read"
        raise DataError(what, at=at, hint=hint)


def _unwrapped(folder: Path, scratch: Path, at: str, say: Callable[[str], None]) -> Path:
    """The folder itself; or, where its weights have wrapped names, a copy with the names of the model inside."""
    files = _files(folder, at)
    names = [name for path in files for name in _names(path, at)]
    bare = [_bare(name) for name in names]
    outermost = OUTERMOST if names and all(name.startswith(OUTERMOST) for name in bare) else ""
    inner = {name: of.removeprefix(outermost) for name, of in zip(names, bare, strict=True)}
    wrapped = [name for name in names if inner[name] != name]
    if not wrapped:
        return folder
    if len({*inner.values()}) < len(names):
        hint = "save the model without the wrapper of torch.compile, DDP or FSDP"
        raise DataError(f"{_listed(wrapped)} are there with and without a wrapper's name", at=at, hint=hint)
    copy = scratch / "unwrapped"
    copy.mkdir(exist_ok=True)
    for path in files:
        save_file({inner[name]: value for name, value in load_file(path).items()}, copy / path.name, {"format": "pt"})
    for path in folder.glob("*.json"):
        text = path.read_bytes()
        if path.name == INDEX:
            index = json_of(path, at)
            text = json.dumps({**index, "weight_map": {inner[k]: v for k, v in index["weight_map"].items()}}).encode()
        (copy / path.name).write_bytes(text)
    say(f"  {at}: {_listed(wrapped)} are unwrapped: `{wrapped[0]}` is `{inner[wrapped[0]]}`")
    return copy


def _bare(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _check_size(folder: Path, at: str) -> None:
    """DataError if the config describes a far larger model than the files hold: it would fill the memory first."""
    config = json_of(folder / CONFIG, at)
    hint = "correct its config.json, or copy the whole folder again"
    layers = [config.get(name) for name in ("num_hidden_layers", "n_layer", "num_layers", "n_layers")]
    if any(isinstance(count, int) and count > MOST_LAYERS for count in layers):
        raise DataError("the base's config.json says more layers than any model has", at=at, hint=hint)
    pad, rows = config.get("pad_token_id"), config.get("vocab_size")
    if isinstance(pad, int) and isinstance(rows, int) and pad >= rows:
        what = f"the base's `pad_token_id` is {pad}, and it has {rows} rows"
        raise DataError(what, at=at, hint="let `pad_token_id` in its config.json be `null`, or the id of a token")
    with translated("transformers cannot load the base", at, hint), torch.device("meta"):
        about = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        skeleton = AutoModelForCausalLM.from_config(about, trust_remote_code=False)
    described = sum(weight.numel() for weight in skeleton.parameters())
    stored = sum(path.stat().st_size for path in _files(folder, at))
    if described > stored:  # not even a byte each
        what = f"the base's config.json describes {described:,} weights, and its files have {stored:,} bytes"
        raise DataError(what, at=at, hint=hint)


def _loaded(folder: Path, at: str) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model, and what transformers says of how it was loaded. DataError for what it raises."""
    hint = "check that its files are whole, and that this transformers has its architecture with sdpa attention"
    reports: list[str] = []
    try:
        with translated("transformers cannot load the base", at, hint), _heard(reports):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch.float32,
                attn_implementation="sdpa",
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
    except DataError as error:
        if wrong := [name for report in reports for name in WRONG.findall(ESCAPE.sub("", report))]:
            what, hint = f"the base's files do not fit its architecture: {_listed(wrong)}", "save the whole model again"
            raise DataError(what, at=at, hint=f"{hint}, or correct its config.json") from error
        raise
    model, info = loaded
    return model, info


@contextmanager
def _heard(reports: list[str]) -> Iterator[None]:
    """Collect what transformers reports of weights that do not fit: its error only points at it."""
    logger = logging.getLogger("transformers.modeling_utils")
    handler = logging.Handler()
    handler.emit = lambda record: reports.append(record.getMessage())  # type: ignore[method-assign]
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def _check_surplus(surplus: Set[str], folder: Path, at: str) -> None:
    """DataError if weights without a place are of a layer that has all that a layer of the model has."""
    layers: dict[str, set[str]] = defaultdict(set)
    for name in _held(folder, at):
        if found := LAYER.fullmatch(name):
            layers[found[1]].add(found[2])
    whole = set()
    for layer, part in (found.groups() for name in surplus if (found := LAYER.fullmatch(name))):
        stack = layer.rpartition(".")[0]
        others = [other for other in layers if other.rpartition(".")[0] == stack and f"{other}.{part}" not in surplus]
        if any(layers[other] == layers[layer] for other in others):
            whole.add(layer)
    if whole:
        what = (
            f"the base's files hold layers that the model of its config.json does not have: {_listed(whole, 'layer')}"
        )
        raise DataError(what, at=at, hint="correct the number of layers in config.json, or save the model again")


def _check_values(model: PreTrainedModel, folder: Path, at: str) -> None:
    """DataError if a weight is not finite, is quantised, or differs from what the files hold under its name."""
    weights = dict(model.named_parameters(remove_duplicate=False))
    for name, value in model.state_dict().items():
        if not bool(torch.isfinite(value).all() if name in weights else ~torch.isnan(value).any()):
            hint = "take an earlier checkpoint: a weight that is NaN or infinite cannot be mended"
            raise DataError(f"the base's weight `{name}` is not finite", at=at, hint=hint)
    _check_types(_held(folder, at), weights, at)
    for name, value in _tensors(_files(folder, at)):
        if name in weights and not torch.equal(weights[name], value.to(torch.float32)):
            what = f"the base's files hold another `{name}` than the model that its config.json describes would use"
            hint = "if it is the head, set `tie_word_embeddings` in config.json to what the model was trained with"
            raise DataError(what, at=at, hint=hint)


def _check_types(held: Mapping[str, tuple[str, int]], weights: Container[str], at: str) -> None:
    """DataError if what files hold is quantised: a weight, or what of one has another name in the model."""
    for name, (kind, _) in held.items():
        module, _, own = name.rpartition(".")
        if kind not in FLOATS and (name in weights or kind.startswith("F")):
            raise DataError(f"the base's files hold `{name}` as {kind}, which is no weight", at=at, hint=ORIGINAL)
        if "_scale" in own and name not in weights and f"{module}.weight" in held:
            raise DataError(f"the base's weights are quantised: its files hold `{name}`", at=at, hint=ORIGINAL)


def check_forward(model: PreTrainedModel, at: str) -> None:
    """DataError if the model cannot read two tokens, or makes of them what is not finite."""
    hint = "take an earlier checkpoint, or correct the values in its config.json"
    with translated("the model cannot read a text", at, hint), torch.inference_mode():
        logits = model.eval()(input_ids=torch.tensor([[0, 1]])).logits
    if not bool(torch.isfinite(logits).all()):
        raise DataError("the model makes numbers of a text that are not finite", at=at, hint=hint)


def _files(folder: Path, at: str) -> list[Path]:
    """The files that transformers reads weights from; others may hold the same in another precision or form."""
    if (folder / WHOLE).exists():
        return [folder / WHOLE]
    return [folder / name for name in sorted({*_weight_map(folder, at).values()})]


def _weight_map(folder: Path, at: str) -> dict[str, str]:
    """Which file holds which weight, as the index says; empty where there is none."""
    if not (folder / INDEX).exists():
        return {}
    names = json_of(folder / INDEX, at).get("weight_map")
    if not isinstance(names, dict) or not all(
        isinstance(name, str) and Path(name).name == name for name in names.values()
    ):
        what = f"the base's file `{INDEX}` does not say which file of the folder holds which weight"
        raise DataError(what, at=at, hint="copy it again, or save the model again")
    return names


def _tensors(files: Iterable[Path]) -> Iterator[tuple[str, torch.Tensor]]:
    for path in files:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  # it is no mapping
                yield name, file.get_tensor(name)


def _held(folder: Path, at: str) -> dict[str, tuple[str, int]]:
    """Of which type each weight of a folder's files is, as safetensors names it, and how many numbers it has."""
    held = {}
    for path in _files(folder, at):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  # it is no mapping
                part = file.get_slice(name)
                held[name] = part.get_dtype(), prod(part.get_shape())
    return held


def _names(path: Path, at: str) -> list[str]:
    with translated(f"the base's file `{path.name}` is damaged", at, "copy it again"), safe_open(path, "pt") as file:
        return [*file.keys()]


def _listed(names: Iterable[str], kind: str = "weight") -> str:
    """How many weights, or what else, and the first of them."""
    ordered = sorted(names)
    more = ", ..." if len(ordered) > SHOWN else ""
    plural = "s" if len(ordered) > 1 else ""
    return f"{len(ordered)} {kind}{plural} (" + ", ".join(f"`{name}`" for name in ordered[:SHOWN]) + more + ")"
