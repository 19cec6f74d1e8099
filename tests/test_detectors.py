"""What the detectors find and what they leave alone, and that they take linear time over it."""

import random
import string
import time

import pytest
from cells import rows
from detector_rows import CLEAN, PERSONAL_ROWS, SECRET_ROWS

from app.record.detectors import PERSONAL, SECRETS, mask

ALL = (*SECRETS, *PERSONAL)
SIZE = 80_000

PROSE = (
    "The slow model does not always finish last, so the server enforces the order of what people see. Natalia sold 48 "
    "clips in April, and half as many in May; how many did she sell altogether? Half of 48 is 24, so 48 + 24 = 72. "
)

HOSTILE: dict[str, str] = {
    "one letter": "a",
    "one digit": "1",
    "zeros": "0 ",
    "digit groups": "1234 ",
    "card groups": "4111 1111 1111 1112 ",
    "triples": "123 456 ",
    "pairs": "01 23 ",
    "plus": "+",
    "plus numbers": "+1 2",
    "area codes": "(415) 555-267",
    "dashes": "-",
    "begin": "-----BEGIN PRIVATE KEY-----",
    "begin and body": "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n",
    "schemes": "://",
    "user infos": "://a:b",
    "ats": "@",
    "addresses": "a@a.",
    "labels": "a.a@",
    "hyphens": "a@-a-",
    "jwt heads": "eyJ-",
    "jwts": "eyJaaaaaaaa.",
    "key heads": "sk-",
    "keys": "sk-ant-",
    "slack heads": "xoxb-",
    "sendgrid heads": "SG.",
    "assignments": "key=a1",
    "api keys": "api_key: a1b2c3d4e5f6g7h8 ",
    "passwords": "password=a1",
    "pwd is": "pwd is a1B2c3D4 ",
    "nested secrets": "secret:token:key:",
    "bearers": "bearer a1",
    "bearers apart": "bearer a1b2c3d4e5f6g7h8 ",
    "quotes": "a1 key='",
    "iban heads": "DE89 3704 ",
    "call me": "call 12345 ",
    "phone words": "phone number is 1234 ",
    "nul and surrogates": "\x00\ud800a1",
    "two bytes": "é1",
    "four bytes": "🔑a1",
}


@rows(("text", "name"), SECRET_ROWS)
def test_a_secret_is_masked_by_the_name_of_what_it_is(text: str, name: str) -> None:
    """A secret is found in the middle of a text, and nothing of it is left."""
    whole = text.replace("⟦", "").replace("⟧", "")
    secret = text.partition("⟦")[2].partition("⟧")[0]
    masked, counts = mask(whole, SECRETS)
    assert masked == text.replace(f"⟦{secret}⟧", f"[masked:{name}]")
    assert counts == {name: 1}


@rows(("text", "name"), PERSONAL_ROWS)
def test_personal_data_is_masked_and_is_no_secret(text: str, name: str) -> None:
    """Personal data is found among both kinds of detectors, and by none of those for secrets."""
    whole = text.replace("⟦", "").replace("⟧", "")
    found = text.partition("⟦")[2].partition("⟧")[0]
    masked, counts = mask(whole, ALL)
    assert masked == text.replace(f"⟦{found}⟧", f"[masked:{name}]")
    assert counts == {name: 1}
    assert mask(whole, SECRETS) == (whole, {})


@rows("text", CLEAN)
def test_what_only_looks_alike_is_left_alone(text: str) -> None:
    """Numbers, dates, prices, sums, code, placeholders and prose stay as they are."""
    assert mask(text, ALL) == (text, {})


def test_the_table_is_wide() -> None:
    """There are at least 150 examples, no two alike."""
    rows = [text for text, _ in (*SECRET_ROWS, *PERSONAL_ROWS)] + CLEAN
    assert len(rows) == len(set(rows)) >= 150


def test_many_finds_in_one_text_are_all_masked_and_counted() -> None:
    """Every find of a text is masked, in place, whatever stands beside it."""
    text = "a@example.com, b@example.com; AKIAIOSFODNN7EXAMPLE and +49 30 901820"
    masked, counts = mask(text, ALL)
    assert masked == "[masked:email], [masked:email]; [masked:aws_access_key] and [masked:phone]"
    assert counts == {"email": 2, "aws_access_key": 1, "phone": 1}


def test_finds_that_overlap_are_masked_as_one() -> None:
    """A provider's key that is also an assigned value counts once, under the provider's name."""
    masked, counts = mask("api_key=sk-proj-abcdEFGH1234567890ijklMNOP", ALL)
    assert masked == "api_key=[masked:openai_key]"
    assert counts == {"openai_key": 1}


def test_an_access_key_and_the_secret_after_it_are_both_masked() -> None:
    """The forty characters that follow an AWS access key are its secret."""
    text = "AKIAIOSFODNN7EXAMPLE,wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    assert mask(text, SECRETS)[0] == "[masked:aws_access_key],[masked:aws_secret_key]"


@rows("seed", range(40))
def test_masking_again_changes_nothing(seed: int) -> None:
    """A masked text has nothing left to mask, whatever was glued together."""
    chance = random.Random(seed)
    rows = [text.replace("⟦", "").replace("⟧", "") for text, _ in (*SECRET_ROWS, *PERSONAL_ROWS)] + CLEAN
    glue = [" ", "", ",", "\n", "-", "1", "@", "key=", "x"]
    text = "".join(part for _ in range(12) for part in (chance.choice(rows), chance.choice(glue)))
    once, _ = mask(text, ALL)
    assert mask(once, ALL) == (once, {})


@pytest.mark.long  # it looks at a time, and takes it
@pytest.mark.parametrize("unit", [*HOSTILE.values(), None], ids=[*HOSTILE.keys(), "noise"])
def test_the_time_grows_with_the_text_alone(unit: str | None) -> None:
    """No repeated pattern and no noise makes eight times the text take sixty-four times as long."""
    alphabet = string.ascii_letters + string.digits + "-_.:@+/= \n"
    text = "".join(random.Random(1).choices(alphabet, k=SIZE)) if unit is None else (unit * SIZE)[:SIZE]
    eighth = min(_seconds(text[: SIZE // 8]) for _ in range(2))
    assert any(_seconds(text) < 24 * eighth + 0.03 for _ in range(2))  # the second only if the first was too slow


def _seconds(text: str) -> float:
    """The processor time of looking through a text."""
    start = time.process_time()
    mask(text, ALL)
    return time.process_time() - start
