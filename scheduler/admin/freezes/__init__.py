"""The pages of freezes: the list, and the form with what it will block."""
