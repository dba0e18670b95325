"""What a model must prove before it trains; on the kernel that trains it, unless that is divided over processes."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from aurora_m.core.errors import RecipeError, TrainError
from aurora_m.model.load import positions

MAX_OFF = 1e-4  # of the largest logit: between two ways to compute the same attention
SEEN = 10  # times as far must logits move with what attention reads, or the two ways cannot be told apart
STEPS = (1e-2, 1e-3, 1e-4, 1e-5)  # shares of the loss that a step along the gradient promises to take away
LEAST_FALL = 0.5  # of what is promised


@torch.no_grad()  # tensors of inference mode could not be gathered again in training
def packing_leak(model: PreTrainedModel, length: int = 32) -> float:
    """Change the first of two packed documents and return how far the second one's logits move. It must be 0.0."""
    vocab, half = model.config.vocab_size, length // 2
    generator = torch.Generator().manual_seed(0)
    tokens_BT = torch.randint(0, vocab, (1, length), generator=generator).repeat(2, 1)
    tokens_BT[1, :half] = (tokens_BT[1, :half] + 1) % vocab
    positions_BT = torch.cat([torch.arange(half), torch.arange(length - half)]).repeat(2, 1)
    device = next(model.parameters()).device
    logits_BTV = model(input_ids=tokens_BT.to(device), position_ids=positions_BT.to(device), use_cache=False).logits
    return float((logits_BTV[0, half:] - logits_BTV[1, half:]).abs().max())


def check_isolation(model: PreTrainedModel) -> float:
    """Refuse to train a model whose packed documents see each other."""
    moved = packing_leak(model)
    if moved != 0.0:
        raise TrainError(
            f"packed documents see each other: the second one's logits move by {moved:.3g}",
            at=f"{model.config.model_type} with {model.config._attn_implementation} attention",
            hint="this architecture ignores restarting position ids; train it on rows of one document each",
        )
    return moved


@torch.inference_mode()
def check_head(model: PreTrainedModel, length: int = 16) -> None:
    """Refuse to train a model whose logits are more than its last states times its head: the loss would be another."""
    model.eval()
    head = model.get_output_embeddings()
    tokens_BT = torch.arange(length, device=next(model.parameters()).device)[None] % model.config.vocab_size
    logits_BTV = model(input_ids=tokens_BT, use_cache=False).logits
    hidden_BTD = model.base_model(tokens_BT, use_cache=False).last_hidden_state
    off = float((hidden_BTD @ head.weight.T - logits_BTV).abs().max())
    biased = getattr(head, "bias", None) is not None  # even where it is 0 now: it would never learn
    if biased or off > 1e-3 * float(logits_BTV.abs().max()):
        raise TrainError(
            f"the logits are not the last states times the head: they differ by {off:.3g}",
            at=model.config.model_type,
            hint="architectures that scale, cap or shift their logits are not supported",
        )


@torch.no_grad()
def check_reference(model: PreTrainedModel, length: int = 32) -> float:
    """Refuse a model whose attention kernel gives other logits than the plain sums of `eager`, on one document.

    In float32. Scales that a kernel leaves out, a softmax in another precision and shared keys read wrongly show here,
    if attention moves the logits at all: it hardly does in a model whose weights are tiny.
    Returns how far the logits move when another token is read first; 0 where that is too little to see a difference.
    """
    kernel, training = model.config._attn_implementation, model.training
    length = min(length, positions(model))
    tokens_BT = _some_tokens(model, 1, length)
    model.eval()
    try:
        ours_BTV = model(input_ids=tokens_BT, use_cache=False).logits
        model.set_attn_implementation("eager")
        plain_BTV = model(input_ids=tokens_BT, use_cache=False).logits
        other_BT = torch.cat([(tokens_BT[:, :1] + 1) % model.config.vocab_size, tokens_BT[:, 1:]], dim=1)
        other_BTV = model(input_ids=other_BT, use_cache=False).logits
    finally:
        model.set_attn_implementation(kernel)
        model.train(training)
    off = float((ours_BTV - plain_BTV).abs().max())
    most = MAX_OFF * float(plain_BTV.abs().max())
    if not off <= most:
        raise TrainError(
            f"the logits of `{kernel}` attention differ from the plain ones by {off:.3g}",
            at=model.config.model_type,
            hint="this kernel computes something else for this architecture: do not train with it",
        )
    moved = float((other_BTV - plain_BTV)[:, 1:].abs().max()) if length > 1 else 0.0
    return moved if moved > SEEN * most else 0.0


def check_positions(model: PreTrainedModel, row_tokens: int, at: str) -> None:
    """RecipeError if a model cannot read rows of so many tokens; `at` names the stage."""
    room = positions(model)
    if row_tokens > room:
        what = f"rows of {row_tokens} tokens do not fit the base's {room} positions"
        raise RecipeError(what, at=at, hint="make rows shorter, or choose another base")


def check_learns(model: PreTrainedModel, rows: int = 2, length: int = 32) -> float:
    """Refuse to train a float32 model whose gradient does not lower its loss, on one batch, by as much as it promises.

    One plain step along the gradient, and back: weights, gradients and mode are afterwards what they were, bit for
    bit. Steps of several sizes are tried, since a long one may go where the slope is another. Needs room for a copy of
    the weights that learn, and for their gradients. Returns the fall of the loss as a share of what was promised.
    """
    weights = [p for p in model.parameters() if p.requires_grad]
    tokens_BT, training = _some_tokens(model, rows, min(length, positions(model))), model.training
    model.eval()
    fall = 0.0
    try:
        loss = _loss(model, tokens_BT)
        slopes = torch.autograd.grad(loss, weights, materialize_grads=True) if weights and loss.requires_grad else ()
        steep = sum(float(slope.double().square().sum()) for slope in slopes)
        for share in STEPS if 0 < steep < float("inf") else ():
            promised = share * loss.item()
            after = _loss_after(model, tokens_BT, weights, [slope * (promised / steep) for slope in slopes])
            fall = (loss.item() - after) / promised
            if LEAST_FALL < fall < 1 / LEAST_FALL:
                return fall
    finally:
        model.train(training)
    raise TrainError(
        f"a step along the gradient lowers the loss by {fall:.2g} of what it should",
        at=model.config.model_type,
        hint="the gradient is not that of the loss, or no weight learns: look at what is frozen or changed",
    )


@torch.no_grad()
def _loss_after(
    model: PreTrainedModel, tokens_BT: torch.Tensor, weights: Sequence[torch.Tensor], steps: Sequence[torch.Tensor]
) -> float:
    """The loss with each weight less a step; then the weights are put back."""
    before = [p.clone() for p in weights]
    try:
        for p, step in zip(weights, steps, strict=True):
            p.sub_(step)
        return _loss(model, tokens_BT).item()
    finally:
        for p, old in zip(weights, before, strict=True):
            p.copy_(old)


def _loss(model: PreTrainedModel, tokens_BT: torch.Tensor) -> torch.Tensor:
    """The mean loss of a batch, in nats a token."""
    logits_BTV = model(input_ids=tokens_BT[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1).float(), tokens_BT[:, 1:].flatten())


def _some_tokens(model: PreTrainedModel, rows: int, length: int) -> torch.Tensor:
    """The same random tokens every time."""
    generator = torch.Generator().manual_seed(0)
    tokens_BT = torch.randint(0, model.config.vocab_size, (rows, length), generator=generator)
    return tokens_BT.to(next(model.parameters()).device)
