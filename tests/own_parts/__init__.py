"""Parts of a user's own, which the tests name by import path, as users do."""
