"""Networks: each as it is trained, and beside it the compiled twin that phones run in the simulation."""
