"""What is known of the insides of the MLflow that is pinned, and SQL on its tables. Knows no other room."""
