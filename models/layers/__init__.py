"""What every architecture here is made of: norm, rotary attention, MLP, experts, and their closed-form cost."""
