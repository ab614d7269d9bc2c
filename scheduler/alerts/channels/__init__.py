"""How a message leaves jobu: one module per kind of channel, each with `send`."""
