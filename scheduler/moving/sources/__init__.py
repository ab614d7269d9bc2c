"""One file per system: `read(where, options)` yields its entries. They do not know each other."""
