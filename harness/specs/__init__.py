"""What a run is: specs, the id made from them, and their closed-form counts."""
