"""Pure: rate windows, circuit breaker, adaptive concurrency, fair sharing, reservations, tokens, budgets."""
