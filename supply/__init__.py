"""What is delivered with CardiacNets, and under which licences; nothing here is installed."""
