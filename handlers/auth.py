"""Signing in and out: pages, and the same as REST."""

from urllib.parse import urlsplit

import msgspec

from jpulse import ApiHandler, ClientError, PageHandler


def local_target(target: str) -> str:
    """
    Where to go after signing in: an address of this site, else the home page.

    Browsers read `//host`, `/\\host` and addresses with control characters in ways of
    their own, so that only a plain absolute path passes.
    """
    plain = target.startswith("/") and not target.startswith(("//", "/\\", "/auth/")) and "\\" not in target
    if not plain or any(ord(char) < 33 or ord(char) == 127 for char in target):
        return "/"
    parts = urlsplit(target)
    return "/" if parts.scheme or parts.netloc else target


class LoginPage(PageHandler):
    """The sign-in form; whoever is signed in goes on to where the form would have led."""

    def get(self) -> None:
        """Show the form."""
        target = local_target(self.get_query_argument("next", "/"))
        if self.current_user:
            self.redirect(target)
        else:
            self._show(target)

    async def post(self) -> None:
        """Sign in, or show the form again with what is wrong."""
        target = local_target(self.get_body_argument("next", "/"))
        username = self.get_body_argument("username", "")
        try:
            await self.sign_in(username, self._password())
        except ClientError as error:
            self.set_error_status(error)
            self._show(target, username, error.message)
        else:
            self.redirect(target, status=303)

    def _password(self) -> str:
        """Read the field as it was sent: Tornado makes blanks of some of its characters and drops others."""
        try:
            return self.request.body_arguments.get("password", [b""])[-1].decode()
        except UnicodeDecodeError:
            raise ClientError("password: it has characters that do not exist") from None

    def _show(self, target: str, username: str = "", error: str = "") -> None:
        self.render("auth/login.html", next=target, username=username, error=error)


class LogoutPage(PageHandler):
    """Signs out; a POST, so that no link or image can do it."""

    async def post(self) -> None:
        """End the session everywhere it is in use, and go home."""
        await self.sign_out()
        self.redirect("/", status=303)


class Credentials(msgspec.Struct, forbid_unknown_fields=True):
    """What signing in takes."""

    username: str
    password: str


class LoginApi(ApiHandler):
    """POST /api/1/auth/login."""

    async def post(self) -> None:
        """Sign in; the cookie comes with the answer."""
        credentials = self.read_body(Credentials)
        user = await self.sign_in(credentials.username, credentials.password)
        self.write_success({"user": user.as_json()})


class LogoutApi(ApiHandler):
    """POST /api/1/auth/logout."""

    async def post(self) -> None:
        """Sign out; without a session nothing happens."""
        await self.sign_out()
        self.write_success({"user": None})


class StatusApi(ApiHandler):
    """GET /api/1/auth/status."""

    def get(self) -> None:
        """Tell who asks."""
        self.write_success({"user": self.current_user.as_json() if self.current_user else None})
