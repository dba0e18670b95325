"""Secrets: issued keys, blocks, passwords by their place; and what only looks so."""

import random
import string

import pytest

from aurora_m.data.personal import secrets


def found(text: str) -> list[str]:
    """Each secret once."""
    return [text[start:end] for start, end in sorted(set(secrets.find(text)))]


def drawn(count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    """Characters from a fixed seed."""
    return "".join(random.Random(7).choices(alphabet, k=count))


@pytest.mark.parametrize(
    "key",
    [
        "AKIA" + drawn(16, string.ascii_uppercase + "234567"),
        "ghp_" + drawn(36),
        "github_pat_" + drawn(82),
        "glpat-" + drawn(20),
        "xoxb-123456789012-" + drawn(24),
        "sk-" + drawn(48),
        "sk-proj-" + drawn(48),
        "sk_live_" + drawn(24),
        "AIza" + drawn(35),
        f"SG.{drawn(22)}.{drawn(43)}",
        f"eyJ{drawn(30)}.eyJ{drawn(60)}.{drawn(43)}",
        "hf_" + drawn(34),
        "npm_" + drawn(36),
        "shpat_" + drawn(32, "0123456789abcdef"),
        "dop_v1_" + drawn(64, "0123456789abcdef"),
    ],
)
def test_issued_keys(key: str) -> None:
    assert found(f"key {key}, and") == [key]
    assert found(f"キーは{key}です") == [key]
    assert found(f"x{key}") == []


def test_a_private_key_block_is_one() -> None:
    body = f"Proc-Type: 4,ENCRYPTED\n{drawn(64)}\n{drawn(64)}"
    block = f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"
    assert found(f"a\n{block}\nb") == [block]
    assert found(block.replace("PRIVATE", "PUBLIC")) == []
    assert found("-----BEGIN PRIVATE KEY-----\nshort\n-----END PRIVATE KEY-----") == []


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("postgres://ann:s3crEt99@db.example.com/x", "s3crEt99"),
        ("redis://:p4ss-wrd@cache:6379", "p4ss-wrd"),
        ('password = "h8Kd9sLq2"', "h8Kd9sLq2"),
        ("PASSWORD: 'correct-horse-9'", "correct-horse-9"),
        ("export DB_PASSWORD=Tr0ub4dor3x", "Tr0ub4dor3x"),
        ('{"apiKey": "9f8e7d6c5b4a39281706"}', "9f8e7d6c5b4a39281706"),
        ('config["secret_key"] = "kT7x!bQ2"', "kT7x!bQ2"),
        ('let token: &str = "2stzThW3EwF7";', "2stzThW3EwF7"),
        ('<add key="private_key" value="Iq9oFdhTPE0l38BR" />', "Iq9oFdhTPE0l38BR"),
        ('#define API_TOKEN "jAely9pw2vgP"', "jAely9pw2vgP"),
        ("Authorization: Bearer 2YotnFZFEjr1zCsicMWpAA", "2YotnFZFEjr1zCsicMWpAA"),
    ],
)
def test_a_value_by_its_place(text: str, secret: str) -> None:
    assert found(text) == [secret]


@pytest.mark.parametrize(
    "text",
    [
        "password = 'changeme'; password: required; passwd = 'your_password1'",
        "secret = os.environ['SECRET_1']; token = process.env.TOKEN1; key = ${API_KEY_1}",
        "token = self.tokens[12]; api_key = get_key(12); password = user.password2",
        "withCredentials: defaultToConfig2, cancelToken: defaultToConfig2",
        "commit 9f8e7d6c5b4a392817069f8e7d6c5b4a39281706",
        "cache_key = 'd41d8cd98f00b204e9800998ecf8427e'",
        "http://user:password@host http://{user}:{pass}@host https://example.com:8080/@a",
        "AKIAEXAMPLEEXAMPLE12 ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx sk-learn-contrib-is-a-project",
        "password == 'h8Kd9sLq2'",
        "password:\nroot@server22",
    ],
)
def test_not_found(text: str) -> None:
    assert found(text) == []
