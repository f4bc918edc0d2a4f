"""Skeletons of child networks, one file each."""
