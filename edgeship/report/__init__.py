"""What edgeship shows: progress, tables for people, JSON documents for machines. Nothing here decides anything."""
