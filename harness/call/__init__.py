"""One call of a model: the model is built, checked, called and timed; its bytes and its operators."""
