"""What launch/prepare_hf is made of."""
