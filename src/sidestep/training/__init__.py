"""Training: one loop for every recommender, and the objectives it lowers."""
