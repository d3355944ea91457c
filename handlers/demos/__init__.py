"""The demos at /hello-websocket/."""
