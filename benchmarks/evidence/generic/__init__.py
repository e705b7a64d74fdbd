"""The generic teacher on the evidence suite: students of a whole pool, distilled from teachers made in several ways."""
