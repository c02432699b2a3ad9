"""The records that all modules share: intent and snapshot, findings and changes. Pure."""
