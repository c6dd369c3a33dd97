"""Who may change what is served: the seam for keys, with one key so far.

Off without one: a gateway that has no admin key changes nothing for anybody. Only a hash of it is
kept.
"""

import hmac
from hashlib import sha256

from services.gateway.asgi import Call
from shared.errors import KeyRefused, NotAllowed


class AdminKey:
    """The one key that opens the management routes."""

    def __init__(self, key: str | None) -> None:
        self._hash = sha256(key.encode()).digest() if key else None

    def check(self, call: Call) -> None:
        """Let the caller in who shows the key, as ``Authorization: Bearer`` or ``X-API-Key``.

        Raises:
            NotAllowed, KeyRefused
        """
        if self._hash is None:
            raise NotAllowed(
                "this gateway has no admin key, so nobody can change what is served: set "
                "PENSTOCK_GATEWAY_ADMIN_KEY or PENSTOCK_GATEWAY_ADMIN_KEY_FILE"
            )
        shown = call.headers.get(b"x-api-key", b"")
        scheme, _, token = call.headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer":
            shown = token.strip()
        if not shown:
            raise KeyRefused("no key was shown: send Authorization: Bearer <admin key>")
        if not hmac.compare_digest(sha256(shown).digest(), self._hash):
            raise KeyRefused("the key that was shown is not the admin key")
