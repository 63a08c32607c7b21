"""Models and their workers, as seen from the front-end process. No HTTP here, no torch."""
