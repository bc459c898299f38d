"""Networks as phones run them: policies, triggers, engines, export."""
