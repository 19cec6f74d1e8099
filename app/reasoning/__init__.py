"""The heart: a run is a log, two lanes race to write it, everybody else reads."""
