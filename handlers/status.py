"""What an operator's tools ask: is the process alive, and can it serve."""

from jpulse import ApiHandler
from jpulse.web import write_failure


class StatusHandler(ApiHandler):
    """Answers whoever asks, without the store."""

    async def load_session(self) -> None:
        """Ask the store nothing: it may be what is in trouble."""


class HealthApi(StatusHandler):
    """GET /healthz: alive, whatever else may be in trouble."""

    def get(self) -> None:
        """Answer."""
        self.write_success({"status": "ok"})


class ReadyApi(StatusHandler):
    """GET /readyz: 200 if this process can serve, else 503 and what is wrong."""

    async def get(self) -> None:
        """Ask the store, the bridge and the drain."""
        parts = await self.app.health()
        wrong = [f"{name}: {state}" for name, state in parts.items() if state != "ok"]
        if wrong:
            self.set_header("Retry-After", "5")
            write_failure(self, 503, "Not ready: " + "; ".join(wrong), data=parts)
        else:
            self.write_success(parts)
