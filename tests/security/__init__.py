"""What an attacker would try: from the broker, from a form, from the address bar, from a row."""
