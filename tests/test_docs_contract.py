"""What the documents say of topics, settings and messages is what the code says."""

import re

import pytest
from documents import ROOT, text_of

from inference.bundle import default_bundle, load_bundle
from schemas.messages import Rejection, decode_message
from schemas.topics import TOPICS
from stream.settings import CONFIG_VARIABLE, load_settings

OPERATIONS, DEVICES = ROOT / "docs" / "operations.md", ROOT / "docs" / "devices.md"
LOGIN = {"CARDIACNETS_SASL_USERNAME": "worker", "CARDIACNETS_SASL_PASSWORD": "secret"}
SIGNS = "whsec_" + "A" * 44


def blocks(document, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(document), re.DOTALL | re.MULTILINE)


def rows_of(document, head):
    """Return the cells of the table whose head begins so."""
    table = text_of(document).split(f"\n| {head} |", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_the_operators_table_has_every_topic_with_its_settings():
    told = {name: (days, most) for name, _, days, most in rows_of(OPERATIONS, "topic")}
    assert told == {
        topic.name: (
            f"{topic.retention_days} day{'s' * (topic.retention_days > 1)}",
            str(topic.max_message_bytes or "default"),
        )
        for topic in TOPICS
    }


@pytest.mark.parametrize("text", blocks(OPERATIONS, "toml"))
def test_a_file_of_settings_that_is_shown_can_be_used(text, tmp_path):
    (tmp_path / "settings.toml").write_text(text)
    environment = {CONFIG_VARIABLE: str(tmp_path / "settings.toml")} | (LOGIN if "SASL" in text else {})
    environment |= {"CARDIACNETS_ALERT_WEBHOOK_SECRET": SIGNS} if "alert_webhook" in text else {}
    assert load_settings(environment) != load_settings({})


def test_the_rejection_that_is_shown_is_one():
    (text,) = blocks(DEVICES, "json")
    rejection = decode_message(Rejection, text.encode())
    assert (rejection.code, rejection.numbers["flat_leads"]) == ("flat_lead", 3)


def test_the_model_card_is_about_the_bundle_that_is_shipped():
    assert f"`{load_bundle(default_bundle()).manifest.version}`" in text_of(ROOT / "docs" / "model-card.md")
