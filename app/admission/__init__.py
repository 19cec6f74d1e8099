"""Before: may this question run? Who asks, how often, for how much money, and is there room."""
