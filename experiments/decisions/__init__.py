"""What decision rules do on simulated people, before anybody's phone has them."""
