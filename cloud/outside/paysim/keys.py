"""Keys of the simulated providers and of the merchant they know; made once, kept in a folder with the settings we need."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

APP_ID: Final = "wx5bd1000000000001"
MERCHANT_ID: Final = "1900000109"
MERCHANT_SERIAL: Final = "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"
APIV3_KEY: Final = "0123456789abcdef0123456789abcdef"  # a simulator's key protects nothing
PUBLIC_KEY_ID: Final = "PUB_KEY_ID_0119000001092026112500000000000001"
ALIPAY_APP_ID: Final = "2021000000000001"
ALIPAY_SELLER_ID: Final = "2088000000000001"
_NAMES: Final = ("wechat", "wechat-merchant", "alipay", "alipay-app")


@dataclass(frozen=True, slots=True)
class Keys:
    """Private keys of providers, public keys of the merchant."""

    wechat: rsa.RSAPrivateKey
    wechat_merchant: rsa.RSAPublicKey
    alipay: rsa.RSAPrivateKey
    alipay_app: rsa.RSAPublicKey
    stranger: rsa.RSAPrivateKey  # whose signatures nobody should believe


def keys_in(folder: Path, base: str) -> Keys:
    """Load the keys of a folder, or make them; write what the cloud needs to know as `pay.env`."""
    folder.mkdir(parents=True, exist_ok=True)
    loaded = {name: _key(folder, name) for name in _NAMES}
    (folder / "pay.env").write_text(
        "".join(f"{name}={value}\n" for name, value in settings(folder, base).items()), encoding="utf-8"
    )
    return Keys(
        wechat=loaded["wechat"],
        wechat_merchant=loaded["wechat-merchant"].public_key(),
        alipay=loaded["alipay"],
        alipay_app=loaded["alipay-app"].public_key(),
        stranger=_new(),
    )


def settings(folder: Path, base: str) -> dict[str, str]:
    """What a cloud process is told to use the simulator at `base`."""
    return {
        "SHOUDIAN_WECHAT_MERCHANT_ID": MERCHANT_ID,
        "SHOUDIAN_WECHAT_APP_ID": APP_ID,
        "SHOUDIAN_WECHAT_MERCHANT_SERIAL": MERCHANT_SERIAL,
        "SHOUDIAN_WECHAT_MERCHANT_KEY_FILE": str(folder / "wechat-merchant.key"),
        "SHOUDIAN_WECHAT_APIV3_KEY": APIV3_KEY,
        "SHOUDIAN_WECHAT_PUBLIC_KEY_FILE": str(folder / "wechat.pub"),
        "SHOUDIAN_WECHAT_PUBLIC_KEY_ID": PUBLIC_KEY_ID,
        "SHOUDIAN_WECHAT_GATEWAY": base,
        "SHOUDIAN_ALIPAY_APP_ID": ALIPAY_APP_ID,
        "SHOUDIAN_ALIPAY_SELLER_ID": ALIPAY_SELLER_ID,
        "SHOUDIAN_ALIPAY_APP_KEY_FILE": str(folder / "alipay-app.key"),
        "SHOUDIAN_ALIPAY_PUBLIC_KEY_FILE": str(folder / "alipay.pub"),
        "SHOUDIAN_ALIPAY_GATEWAY": f"{base}/gateway.do",
    }


def sign(key: rsa.RSAPrivateKey, text: str) -> str:
    """RSA-SHA256 with PKCS#1 v1.5, in base64: what both providers use."""
    return base64.b64encode(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()


def is_signed(key: rsa.RSAPublicKey, text: str, signature: str) -> bool:
    """Whether a signature of that kind is right."""
    try:
        key.verify(base64.b64decode(signature), text.encode(), padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True


def _key(folder: Path, name: str) -> rsa.RSAPrivateKey:
    path = folder / f"{name}.key"
    if not path.exists():
        _write(path, _new())
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError(f"{path} is no RSA key")
    (folder / f"{name}.pub").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return key


def _new() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _write(path: Path, key: rsa.RSAPrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(pem)
