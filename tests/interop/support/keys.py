"""One Ed25519 key in its three spellings: seed, NATS user key, `did:key`."""

import base64

import nkeys
from nacl.signing import SigningKey

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
# Multicodec of an Ed25519 public key.
_ED25519_PUB = bytes([0xED, 0x01])


class Key:
    """A key file of ours: the seed in base64url on one line."""

    def __init__(self, seed):
        self.signing = SigningKey(seed)
        self.nkey_seed = nkeys.encode_seed(seed, nkeys.PREFIX_BYTE_USER).decode()
        self.nkey = nkeys.from_seed(self.nkey_seed.encode()).public_key.decode()
        self.did = _did(bytes(self.signing.verify_key))
        self.multibase = self.did.removeprefix("did:key:")

    @classmethod
    def read(cls, path):
        return cls(unbase64url(path.read_text().strip()))

    def sign(self, message):
        return self.signing.sign(message).signature


def did_of_nkey(nkey):
    """The `did:key` of a NATS user key, `U…`: a prefix byte, the key, two bytes of checksum."""
    return _did(base64.b32decode(nkey)[1:33])


def _did(public):
    return "did:key:z" + _base58(_ED25519_PUB + public)


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unbase64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _base58(data):
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text
