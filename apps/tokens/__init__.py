"""Owns codes and tokens: issuing, refreshing, revoking, introspecting, and the keys that sign them."""
