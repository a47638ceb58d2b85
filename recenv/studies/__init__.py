"""Studies: each asks one question of the project and is run by ``python -m``."""
