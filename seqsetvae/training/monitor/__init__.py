"""Watches a run for posterior collapse while it trains: measures, judges, records, draws, warns, stops, rescues."""
