"""Who may call, how much, and when it is their turn: tokens and TLS, limits and rates, precedence between streams."""
