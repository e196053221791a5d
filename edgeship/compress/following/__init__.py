"""How channels go through operations: rules by the operation's name, in `layers` (where channels come from), `values`
(one result for each value) and `moves` (values elsewhere)."""
