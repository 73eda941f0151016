"""A signed action by hand: the proof of AAT §7.2 and the headers of our binding (schemas, `Marque-Chain`)."""

import hashlib
import json
import time
import uuid

from .keys import base64url, unbase64url


def headers(key, chain, domain, subject, arguments, **changed):
    """The headers that present `arguments` for the tool at `subject`. `changed` replaces members of the proof."""
    return {"Marque-Chain": chain, "Marque-Proof": proof(key, chain, domain, subject, arguments, **changed)}


def proof(key, chain, domain, subject, arguments, **changed):
    leaf = leaf_of(chain)
    signed, _, _ = leaf.rpartition(".")
    payload = {
        "jti": str(uuid.uuid4()),
        "iat": int(time.time()),
        "aat_id": claims(chain)["jti"],
        "aat_hash": base64url(hashlib.sha256(signed.encode()).digest()),
        "aat_tool": f"nats:{subject}",
        "aat_aud": f"nats://{domain}/{subject}",
        "hta": arguments,
    } | changed
    header = {"alg": "Ed25519", "typ": "aat-pop+jwt"}
    text = f"{base64url(canonical(header))}.{base64url(canonical(payload))}"
    return f"{text}.{base64url(key.sign(text.encode()))}"


def leaf_of(chain):
    return chain.split("~")[-1]


def claims(chain):
    """What its leaf says. Nothing is verified."""
    return json.loads(unbase64url(leaf_of(chain).split(".")[1]))


def canonical(value):
    """RFC 8785 of ASCII text and integers: sorted members, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
