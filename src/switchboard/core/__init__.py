"""What every layer shares: types, events, errors, capabilities, the ports between layers, the clock. msgspec only."""
