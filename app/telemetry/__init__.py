"""What a running server tells of itself: counters, times, gauges."""
