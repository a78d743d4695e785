"""The OpenAPI document of `zv serve` says what is true, and what it allows ends in no fault."""

import shutil
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from asked import NAME, chat, post, user
from running import serving

SAID = {"400", "404", "408", "413", "429", "500", "503", "504"}


def document(url):
    return httpx2.get(f"{url}/openapi.json", timeout=60).json()


def test_it_names_the_model_and_all_refusals(running):
    found = document(running.url)
    for name in ("ChatRequest", "EmbeddingRequest", "AttentionRequest"):
        assert found["components"]["schemas"][name]["properties"]["model"]["enum"] == [NAME]
    paths = found["paths"]
    for path in ("/v1/chat/completions", "/v1/embeddings", "/v1/attention"):
        assert set(paths[path]["post"]["responses"]) == {"200", *SAID}
    assert set(paths["/v1/models/{asked}"]["get"]["responses"]) == {"200", "404"}
    assert set(paths["/healthz"]["get"]["responses"]) == {"200", "503"}
    assert list(paths["/metrics"]["get"]["responses"]["200"]["content"]) == ["text/plain"]
    assert "security" not in paths["/v1/models"]["get"]
    assert not {"HTTPValidationError", "ValidationError"} & set(found["components"]["schemas"])


def test_its_examples_are_answered(running):
    """A model with a language model makes no embeddings."""
    schemas = document(running.url)["components"]["schemas"]
    paths = {"ChatRequest": "/v1/chat/completions", "AttentionRequest": "/v1/attention"}
    for name, path in paths.items():
        for example in schemas[name]["examples"]:
            assert post(running.url, path, json=example).status_code == 200


def test_a_server_with_a_key_says_so(model):
    with serving(model("stage0"), key="sk-1") as running:
        found = document(running.url)
    for path, methods in found["paths"].items():
        for operation in methods.values():
            asks = path.startswith("/v1/")
            assert operation.get("security") == ([{"key": []}] if asks else None)
            assert ("401" in operation["responses"]) == asks
    assert found["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_replies_have_the_documented_form(running):
    jsonschema = pytest.importorskip("jsonschema")
    replies = document(running.url)["paths"]["/v1/chat/completions"]["post"]["responses"]
    for reply in (
        chat(running.url, [user("Where is it?")]),
        chat(running.url, []),
        post(running.url, content=b"{"),
    ):
        content = replies[str(reply.status_code)]["content"]["application/json"]
        jsonschema.validate(reply.json(), content["schema"])


@pytest.mark.browser
def test_schemathesis_finds_no_fault(running):
    """Documented requests, and ones a little beside the document, with what they may answer.

    What no schema can say, that roles alternate or that a URI holds an image, is refused with 400:
    a request that fits the document may be.
    """
    program = shutil.which("schemathesis", path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("schemathesis is not installed: make test-browser")
    command = [
        program, "run", f"{running.url}/openapi.json",
        "--phases=examples,coverage,fuzzing", "--max-examples=60", "--seed=1", "--no-shrink",
        "--continue-on-failure", "--suppress-health-check=all", "--request-timeout=120",
        "--exclude-checks=positive_data_acceptance",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
