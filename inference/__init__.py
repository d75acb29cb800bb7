"""From an ECG to a report: signal, gate, network, readout."""
