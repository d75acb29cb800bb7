"""The life of alerts: what the topics say of each, what is due, and the keeper that publishes it."""
