"""The page "who did what" over all that the reader may see, also what was deleted since."""
