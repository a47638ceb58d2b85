"""Study of grocery baskets: next purchases, basket sizes and return times of households."""
