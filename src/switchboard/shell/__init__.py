"""How bytes get to an Exchange and back: `splice` inside the front door, `asgi` under any server. No meaning."""
