"""The send loop: what is claimed, sent, decided and recorded, and when to stop."""
