"""Small questions and inference that variants are trained on and asked."""
