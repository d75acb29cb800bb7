"""The steps of learning, each a function and a command; what one leaves in its folder the next takes up."""
