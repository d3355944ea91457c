"""What can go wrong and what it is called: close codes, error codes, exceptions, one table each."""

from __future__ import annotations

from enum import IntEnum


class CloseCode(IntEnum):
    """
    Why a WebSocket ends: RFC 6455 section 7.4.1, and from 4000 our own.

    The browser client stays away after NORMAL, SESSION_ENDED and ROLE_LOST,
    and reconnects after every other code.
    """

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    #: Never on the wire: the peer's close frame had no code.
    NO_STATUS = 1005
    #: Never on the wire: the connection broke without a close frame.
    ABNORMAL = 1006
    INVALID_PAYLOAD = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    RESTART = 1012
    TRY_AGAIN_LATER = 1013
    SESSION_ENDED = 4401
    ROLE_LOST = 4403
    NO_SIGN_OF_LIFE = 4408
    TOO_MANY_MESSAGES = 4429


#: HTTP statuses and envelope codes with the text that is used where nothing more exact is known.
ERROR_TEXTS = {
    400: "Bad request",
    401: "Sign in first",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    413: "Too large",
    426: "This address speaks WebSocket; connect with a WebSocket client",
    429: "Too many requests; slow down",
    500: "Internal error",
    503: "Not available right now; try again in a moment",
}


class JPulseError(Exception):
    """The root of what jPulse raises on purpose."""


class ProtocolError(JPulseError):
    """The peer broke RFC 6455; `code` is the close code that the RFC asks for, `reason` says which rule."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class InvalidMessage(JPulseError):
    """A text frame that is no JSON object."""


class ClientError(JPulseError):
    """
    Raise it in a handler to answer the client: `{"success": false, "error": message, "code": code}`.

    The message is shown to the client as it is, unlike that of any other exception.
    """

    def __init__(self, message: str, code: int = 400) -> None:
        if type(code) is not int:
            raise TypeError(f"a ClientError's code is a whole number such as 400, not {code!r}")
        super().__init__(message)
        self.message = str(message)
        self.code = code


class OneLineError(JPulseError):
    """Shown to the operator as one line, whatever the values in it hold."""

    def __init__(self, text: str) -> None:
        super().__init__(text.replace("\r", "\\r").replace("\n", "\\n"))


class SettingsError(OneLineError):
    """A setting has a wrong value; the text is one line and names the setting and the fix."""


class StartError(OneLineError):
    """The server cannot start; the text is one line that says why."""
