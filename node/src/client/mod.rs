//! Client commands: what a user types, said to a node over its HTTP API.
