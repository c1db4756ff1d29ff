"""Objectives: losses, rewards and advantages as pure functions of arrays."""
