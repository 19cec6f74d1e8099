"""What instances share through Redis: answers, keys, live runs. Only wiring imports it, and only with REDIS_URL."""
