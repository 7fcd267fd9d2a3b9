"""The model under test and its inputs (`subject.py`), and a `check_….py` for each validity check of what it claims."""
