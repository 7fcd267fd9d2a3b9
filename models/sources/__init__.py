"""Places that models come from, beside this folder and users' files: one file for each prefix of `--model PREFIX:WHAT`."""
