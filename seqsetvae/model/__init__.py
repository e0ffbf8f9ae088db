"""SeqSetVAE: silent tensors-in, tensors-out modules. No logging, printing, device choice or file access."""
