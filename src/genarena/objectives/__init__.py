"""Learning objectives as pure functions; each cites its paper and equation."""
