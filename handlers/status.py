"""What an operator's tools ask: is the process alive, can it serve, and what has it done."""

from ipaddress import ip_address, ip_network

from jpulse import ApiHandler
from jpulse.metrics import CONTENT_TYPE
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


class MetricsPage(ApiHandler):
    """GET /metrics: figures of all processes in Prometheus' text format."""

    def get(self) -> None:
        """Tell those who may know."""
        is_admin = self.current_user is not None and self.current_user.has_any(("admin",))
        if not (is_admin or self._is_near()):
            who = "the addresses in the setting metrics_networks, and for administrators"
            write_failure(self, 403, f"Figures are for {who}")
            return
        self.set_header("Content-Type", CONTENT_TYPE)
        self.finish(self.app.overview.get_metrics(self.app.cluster))

    def _is_near(self) -> bool:
        """Tell whether the client's own address may ask, and not only that of a proxy that passes it on."""
        config, headers = self.app.config, self.request.headers
        passed_on = "X-Forwarded-For" in headers or "Forwarded" in headers
        if passed_on and self.client_address == self.request.remote_ip:
            return False
        address = ip_address(self.client_address)
        return any(address in ip_network(each) for each in config.metrics_networks)
