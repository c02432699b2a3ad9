"""Intent and snapshot held against each other: what differs, and the changes that mend it. Pure."""
