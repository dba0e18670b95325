"""The one chat form: an instruction and its response, as Aurora-M was trained on it (model card, 2024)."""

INSTRUCTION = "### Instruction:\n"
RESPONSE = "### Response:\n"


def render(instruction: str, response: str) -> str:
    """Join an instruction and its response; an empty response leaves the model to go on from there."""
    return f"{INSTRUCTION}{instruction.strip()}\n\n{RESPONSE}{response.strip()}"
