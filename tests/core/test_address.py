"""Addresses: what may be told of them, what may not, and what stays the same."""

import copy
import json
import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_m.core.address import Address, public, selection, whole, without_secrets
from aurora_m.core.canon import digest
from aurora_m.core.errors import DataError

PUBLIC = {
    "https://host/a.jsonl": "https://host/a.jsonl",
    "https://user:pass@host:8080/a.jsonl": "https://host:8080/a.jsonl",
    "https://user@host/a.jsonl": "https://host/a.jsonl",
    "HTTPS://user:pass@host/a.jsonl": "HTTPS://host/a.jsonl",
    "https://us%40er:p@ss@host/a.jsonl": "https://host/a.jsonl",
    "https://user:pa/ss@host/a.jsonl": "https://host/a.jsonl",
    "https://user:pa?ss@host/a.jsonl": "https://host/a.jsonl",
    "https://user:pa#ss@host/a.jsonl?token=t": "https://host/a.jsonl",
    "https://user:12/pass@host/a.jsonl": "https://host/a.jsonl",
    "https://user:/pass@host/a.jsonl": "https://host/a.jsonl",
    "ftp://user:1/2@host/a": "ftp://host/a",
    "https://host.org:80/@user/a.jsonl": "https://host.org:80/@user/a.jsonl",
    "http://localhost:80/@user/a.jsonl": "http://localhost:80/@user/a.jsonl",
    "https://[::1]:80/@user/a.jsonl": "https://[::1]:80/@user/a.jsonl",
    "https://host/@user/a.jsonl": "https://host/@user/a.jsonl",
    "https://user:pass@[::1]:80/a.jsonl?sig=1": "https://[::1]:80/a.jsonl",
    "https://host/a.jsonl?X-Amz-Signature=abc&X-Amz-Credential=AK%2F1": "https://host/a.jsonl",
    "https://host/a.jsonl?AWSAccessKeyId=AKIA&Signature=a/b=&Expires=1": "https://host/a.jsonl",
    "https://a.blob.core.windows.net/c/a.jsonl?sv=2022&sig=a%2Fb&se=2030": "https://a.blob.core.windows.net/c/a.jsonl",
    "https://host/a.jsonl?a_name_that_nobody_thought_of=secret": "https://host/a.jsonl",
    "https://host/a.jsonl#token=secret": "https://host/a.jsonl",
    "https://host?token=secret": "https://host",
    "s3://KEY:SECRET@bucket/data/*.jsonl": "s3://bucket/data/*.jsonl",
    "s3://bucket/da?a/?.jsonl": "s3://bucket/da?a/?.jsonl",
    "s3://bucket/a#b.jsonl?versionId=3&token=x": "s3://bucket/a#b.jsonl",
    "s3://bucket/a?=secret": "s3://bucket/a",
    "s3://bucket/a;sig=secret": "s3://bucket/a",
    "https://host/a;sig=se/cr+et=?b=c": "https://host/a",
    "https://host;sig=secret": "https://host",
    "s3://bucket/a;b": "s3://bucket/a;b",
    "ftp://user:pass@host/a.jsonl": "ftp://host/a.jsonl",
    "abfs://container@account.dfs.core.windows.net/a": "abfs://container@account.dfs.core.windows.net/a",
    "abfs://user:pass@account/a": "abfs://account/a",
    "simplecache::https://user:pass@host/a.jsonl?sig=1": "simplecache::https://host/a.jsonl",
    "zip://*.jsonl::https://user:pass@host/a.zip?sig=1": "zip://*.jsonl::https://host/a.zip",
    "file:data/?.jsonl": "file:data/?.jsonl",
    "hf:owner/name": "hf:owner/name",
    "": "",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_what_may_be_told(address: str) -> None:
    assert public(address) == PUBLIC[address]
    assert public(PUBLIC[address]) == PUBLIC[address]


@given(st.text("abc:/@?#=&%[]", max_size=30))
def test_what_is_public_stays_public(rest: str) -> None:
    once = public(f"https://{rest}")
    assert "?" not in once
    assert public(once) == once or "@" in once


def test_an_address_is_its_public_part_but_for_whoever_opens_it() -> None:
    text = "https://user:hunter2@host/a.jsonl?sig=abc"
    address = Address(text)
    assert address == "https://host/a.jsonl"
    assert whole(address) == text
    assert whole("https://host/a") == "https://host/a"
    for shown in (str(address), f"{address}", repr(address), json.dumps(address), digest(address), f"{[address]}"):
        assert "hunter2" not in shown
        assert "abc" not in shown or shown == digest(address)
    for other in (pickle.loads(pickle.dumps(address)), copy.deepcopy(address)):
        assert whole(other) == text


def test_a_new_signature_selects_the_same_and_another_page_does_not() -> None:
    base = "https://host/a.jsonl?id=7"
    signed = [f"{base}&X-Amz-Signature={n}&X-Amz-Date={n}&Expires={n}&token={n}&sig={n}&se={n}" for n in (1, 2)]
    assert selection(Address(signed[0])) == selection(signed[1]) == selection(base) != selection(base + "8")
    assert selection("https://host/a;id=7;sig=1") == selection("https://host/a;id=7;sig=2") == selection(base)
    assert selection("https://u:pa#ss@host/a?id=7#b") == selection(base)
    assert selection("https://host/a.jsonl?sig=1") == selection("https://host/a.jsonl") == ""
    assert "hunter2" not in selection("https://host/a?pw=hunter2")


def test_errors_tell_no_secret_and_no_escape_code() -> None:
    error = DataError(
        "cannot open URL('https://u:hunter2@h/a?sig=abc')",
        at="a\x1b[2J\nhint: rm -rf /\x9b1m\u202etxt.jsonl",
        hint="`s3://KEY:hunter2@b/x`\x07",
    )
    assert error.what == "cannot open URL('https://h/a')"
    assert error.at == r"a\u001b[2J hint: rm -rf /\u009b1m\u202etxt.jsonl"
    assert error.hint == r"`s3://b/x`\u0007"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_texts_keep_the_rest() -> None:
    text = "see https://u:p@h/a?b=c, `s3://K:S@b/x` and <ftp://u:p@h>"
    assert without_secrets(text) == "see https://h/a `s3://b/x` and <ftp://h>"


def test_a_long_run_of_letters_takes_no_quadratic_time() -> None:
    code = "from aurora_m.core.address import without_secrets; t = 'a' * 2**21; print(without_secrets(f'{t}://u:p@h')[-7:])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=120)
    assert found.stdout == b"aaa://h\n"
