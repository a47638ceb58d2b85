"""Study of simulation speed, beside other simulators and the machine's bounds."""
