"""The network: backbone, feature pyramid, two-branch head."""
