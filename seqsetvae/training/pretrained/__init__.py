"""What pretraining leaves behind: exported without pickle, registered, loaded again."""
