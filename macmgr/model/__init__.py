"""The records that everything else speaks in: intent and snapshot, findings and changes. Pure."""
