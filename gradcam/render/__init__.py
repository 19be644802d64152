"""Pictures: colour tables, overlays, panels."""
