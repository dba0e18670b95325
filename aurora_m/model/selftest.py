"""What a model must prove on the live kernel before it trains."""

import torch
from transformers import PreTrainedModel

from aurora_m.core.errors import TrainError


@torch.inference_mode()
def leak(model: PreTrainedModel, length: int = 32) -> float:
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
    found = leak(model)
    if found != 0.0:
        raise TrainError(
            f"packed documents see each other: the second one's logits move by {found:.3g}",
            at=f"{model.config.model_type} with {model.config._attn_implementation} attention",
            hint="this architecture ignores restarting position ids; train it on rows of one document each",
        )
    return found


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
    if biased or off > 1e-3 * max(1.0, float(logits_BTV.abs().max())):
        raise TrainError(
            f"the logits are not the last states times the head: they differ by {off:.3g}",
            at=model.config.model_type,
            hint="architectures that scale, cap or shift their logits are not supported",
        )
