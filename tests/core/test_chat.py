"""The chat form is exact: a byte more or less is another prompt than the one trained on."""

from aurora_m.core.chat import INSTRUCTION, RESPONSE, render


def test_exact_form() -> None:
    assert render("Say hi.", "Hi.") == "### Instruction:\nSay hi.\n\n### Response:\nHi."


def test_empty_response_ends_where_the_model_goes_on() -> None:
    prompt = render("Say hi.", "")
    assert prompt.endswith(RESPONSE)
    assert render("Say hi.", "Hi.") == prompt + "Hi."


def test_space_around_is_dropped_and_space_within_is_kept() -> None:
    assert render("\n a \n\n b ", " c\n") == f"{INSTRUCTION}a \n\n b\n\n{RESPONSE}c"
