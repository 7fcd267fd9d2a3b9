"""Models of Hugging Face: from a spec such as `hf:llama` or `hf:FOLDER` to a module that the harness can measure."""
